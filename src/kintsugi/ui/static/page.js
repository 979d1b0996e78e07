// The page: what the form says goes to the server, and what the server says comes back.
"use strict";
window.kintsugi = window.kintsugi || {};
(() => {
  const $ = (id) => document.getElementById(id);
  // In the order of page.py.
  const FIELDS = ["wrong", "blur", "find", "factor", "width", "angle", "noise", "quality",
    "rate", "hiss", "level", "gaps", "frequency", "bits", "texture", "samples", "pictures", "sounds", "steps", "seed"];
  // What of the form is sent for which task of sounds; 0 or nothing leaves it to be found.
  const OF_SOUNDS = {
    hiss: (form) => ({ noise: form.find ? null : form.hiss }),
    clipped: (form) => ({ level: form.level || null }),
    gaps: (form) => ({ gaps: form.gaps.trim() || null }),
    hum: (form) => ({ frequency: form.frequency || null }),
    dull: (form) => ({ factor: form.rate }),
    mulaw: (form) => ({ bits: form.bits }),
    rounded: (form) => ({ bits: form.bits }),
  };
  let job = null, running = false, left = [];

  kintsugi.limits = () => {
    const { upload, megapixels, seconds, crafts, suffixes } = $("k-limits").dataset;
    return { upload: Number(upload), megapixels, seconds, crafts: crafts.split(" "), suffixes: suffixes.split(" ") };
  };

  kintsugi.error = (text) => {
    $("k-error").textContent = text;
    $("k-error").hidden = !text;
  };

  kintsugi.chosen = (wrong, blur, find) => {
    Object.assign(document.body.dataset, { wrong, blur, find: find ? "yes" : "no" });
    $("k-brushes").hidden = wrong !== "holes";
    $("k-mask").hidden = wrong !== "holes";
    for (const hint of document.querySelectorAll("#k-hints p")) hint.style.display = hint.dataset.hint === wrong ? "block" : "none";
  };

  // Pictures or sounds: the form shows what belongs to them.
  kintsugi.craft = (craft) => {
    document.body.dataset.craft = craft;
    const own = [...document.querySelectorAll(`#k-hints [data-of=${craft}]`)].map((hint) => hint.dataset.hint);
    if (!own.includes(document.body.dataset.wrong)) kintsugi.choose(own.includes("unknown") ? "unknown" : own[0]);
  };

  kintsugi.choose = (wrong) => document.querySelector(`#k-wrong input[value="${wrong}"]`)?.click();

  kintsugi.taken = () => kintsugi.viewer.hide();

  function asked(values) {
    const form = Object.fromEntries(FIELDS.map((name, i) => [name, values[i]]));
    const { wrong, blur, find } = form;
    const given = { wrong, texture: form.texture, samples: form.samples, steps: form.steps, seed: form.seed ?? 0, prior: form[document.body.dataset.craft] };
    if (OF_SOUNDS[wrong]) return { ...given, ...OF_SOUNDS[wrong](form) };
    const noise = form.noise ? Number((form.noise / 255).toFixed(4)) : null;
    if (wrong === "small") given.factor = form.factor;
    if (wrong === "blur") {
      given.kernel = blur;
      if (blur !== "unknown") given.width = form.width;
      if (blur === "motion") given.angle = form.angle;
    }
    if (wrong === "jpeg" && form.quality) given.quality = form.quality;
    if (["small", "holes", "colour", "grey"].includes(wrong) || (wrong === "blur" && blur !== "unknown")) given.noise = noise;
    if (wrong === "noise") given.noise = find ? null : noise ?? 0;
    return given;
  }

  kintsugi.mend = async (values) => {
    if (running) return;
    kintsugi.error("");
    const { easel } = kintsugi;
    if (!easel.has()) return kintsugi.error("Drop a file first, or take one of the examples.");
    const given = asked(values);
    const form = new FormData();
    form.set("asked", JSON.stringify(given));
    if (easel.state.example) form.set("example", easel.state.example);
    else form.set("input", easel.state.file, easel.state.name);
    if (given.wrong === "holes") {
      const mask = await easel.mask();
      if (!mask) return kintsugi.error("Paint over the holes first, or choose a mask file.");
      form.set("mask", mask, "mask.png");
    }
    run(true);
    tell("Sending the file", null);
    kintsugi.viewer.hide();
    try {
      const before = job;
      let now = await ask("mend/jobs", { method: "POST", body: form });
      job = now.id;
      if (before) left.push(before);
      let frames = 0;
      while (now.state === "waiting" || now.state === "running") {
        tell(words(now), now.total ? now.done / now.total : null);
        if (now.frames > frames) kintsugi.viewer.preview(job, (frames = now.frames));
        await new Promise((done) => setTimeout(done, now.after));
        now = await ask(`mend/jobs/${job}`);
      }
      kintsugi.viewer.hide();
      if (now.state === "done") {
        kintsugi.viewer.show(job, now.result);
        $("k-result").scrollIntoView({ block: "start", behavior: "smooth" });
      } else if (now.state === "failed") kintsugi.error(now.message);
      tell(now.state === "stopped" ? "Stopped." : now.state === "done" ? "Done." : "", now.state === "done" ? 1 : 0);
    } catch (error) {
      kintsugi.viewer.hide();
      kintsugi.error(error.told || "The server does not answer. Is it still running?");
      tell("", 0);
    }
    run(false);
    leave(left.splice(0));
  };

  kintsugi.stop = async () => {
    if (!running || !job) return;
    tell("Stopping", null);
    try {
      await ask(`mend/jobs/${job}/stop`, { method: "POST" });
    } catch {} // the loop above tells what the server says
  };

  function words(now) {
    if (now.state === "waiting") return now.place === 1 ? "One file is mended before yours" : `${now.place} files are mended before yours`;
    const step = now.total && now.stage === "mending" ? `, step ${Math.min(now.done + 1, now.total)} of ${now.total}` : "";
    const stage = now.stage || "beginning";
    return [now.found, stage[0].toUpperCase() + stage.slice(1) + step].filter(Boolean).join(" ");
  }

  async function ask(address, options) {
    const answer = await fetch(address, options);
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw Object.assign(new Error(), { told: body.error });
    return body;
  }

  function tell(text, share) {
    $("k-progress").hidden = !text;
    $("k-told").textContent = text;
    $("k-bar").classList.toggle("k-unsure", share === null);
    $("k-bar").firstElementChild.style.width = share === null ? "" : `${100 * share}%`;
    if (share !== null) $("k-bar").setAttribute("aria-valuenow", Math.round(100 * share));
    else $("k-bar").removeAttribute("aria-valuenow");
  }

  function run(on) {
    running = on;
    $("k-mend").disabled = on;
    $("k-stop").disabled = !on;
    document.body.classList.toggle("k-busy", on);
  }

  function leave(jobs) {
    for (const id of jobs) navigator.sendBeacon(`mend/jobs/${id}/leave`);
  }

  function dark(on) {
    document.body.classList.toggle("dark", on);
    $("k-theme").textContent = on ? "Light" : "Dark";
  }

  // gradio's radio buttons are no group to the browser: the arrow keys would not go from one to the next.
  function arrows(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const radios = [...event.currentTarget.querySelectorAll("input[type=radio]")].filter((radio) => radio.offsetParent);
    const at = radios.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const next = radios[(at + step + radios.length) % radios.length];
    next.focus();
    next.click();
  }

  function ready() {
    for (const part of [kintsugi.easel, kintsugi.viewer]) part.ready();
    for (const id of ["k-wrong", "k-blur"]) $(id).addEventListener("keydown", arrows, true);
    const first = kintsugi.limits().crafts[0];
    document.body.dataset.craft = first;
    kintsugi.chosen(first === "pictures" ? "unknown" : "hiss", "unknown", true);
    run(false);
    dark(document.body.classList.contains("dark") || matchMedia("(prefers-color-scheme: dark)").matches);
    $("k-theme").onclick = () => dark(!document.body.classList.contains("dark"));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("k-mend").click();
      if (event.key === "Escape") kintsugi.stop();
    });
    window.addEventListener("pagehide", (event) => { if (!event.persisted && job) leave([job]); });
    document.body.dataset.ready = "yes";
  }

  // gradio builds the page after its scripts are loaded.
  const watch = setInterval(() => {
    if ($("k-limits") && $("k-file") && $("k-error") && $("k-result") && $("k-mend")) {
      clearInterval(watch);
      ready();
    }
  }, 50);
})();
