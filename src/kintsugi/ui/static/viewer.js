// The result: before and after, the samples, what is invented, the steps.
"use strict";
window.kintsugi = window.kintsugi || {};
kintsugi.viewer = (() => {
  const $ = (id) => document.getElementById(id);
  const state = { job: null, result: null, view: "compare", sample: 0, timer: null };
  const url = (name) => `mend/jobs/${state.job}/${name}`;

  const SAYS = {
    compare: "Move the slider, or the line on the picture.",
    samples: "Each is a picture that fits what was measured. Where they differ, the picture does not say.",
    gold: "Gold lies where the picture was invented: where no measurement decides, and samples differ.",
    steps: "What the model made of the picture at each step.",
  };

  function show(job, result) {
    Object.assign(state, { job, result, sample: 0 });
    $("k-result").hidden = false;
    const several = result.samples.length > 1;
    tab("samples").hidden = !several;
    tab("gold").hidden = !result.shown.gold;
    tab("steps").hidden = result.frames === 0;
    $("k-strip").replaceChildren(...(several ? result.looks.map(thumb) : []));
    $("k-found").textContent = [result.found, `${result.size}, ${result.cost}.`].filter(Boolean).join(" ");
    $("k-notes").replaceChildren(...result.notes.map((note) => make("li", { textContent: note })));
    $("k-files").replaceChildren(...Object.entries(result.files).map(([name, saved]) => {
      const link = make("a", { href: `${url(name)}?save=1`, textContent: saved, download: saved });
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
    $("k-command").textContent = result.command;
    $("k-python").textContent = result.python;
    $("k-viewer").classList.toggle("k-spectrum", "before" in result.heard);
    view("compare");
  }

  // Players keep their source, and so their place, while only the view changes.
  function hear() {
    const { heard, samples } = state.result;
    $("k-players").hidden = !heard.before;
    $("k-after-name").textContent = samples.length > 1 ? `Sample ${state.sample + 1}` : "After";
    for (const [id, name] of [["k-before", heard.before], ["k-after", heard[`sample${state.sample + 1}`]]]) {
      if (!name) $(id).removeAttribute("src");
      else if ($(id).getAttribute("src") !== url(name)) $(id).src = url(name);
    }
  }

  function silence() {
    for (const id of ["k-before", "k-after"]) $(id).pause();
  }

  // While it is being mended: the last step, alone.
  function preview(job, frame) {
    state.job = job;
    stop();
    $("k-result").hidden = false;
    $("k-result").classList.add("k-running");
    for (const each of document.querySelectorAll("#k-result > :not(#k-viewer), #k-turn")) each.classList.add("k-later");
    $("k-over").hidden = $("k-line").hidden = true;
    $("k-under").src = url(`step${frame}.webp`);
    $("k-under").alt = `The picture at step ${frame}`;
    size(1, 1);
    $("k-says").textContent = `Step ${frame}`;
  }

  function settle() {
    $("k-result").classList.remove("k-running");
    for (const each of document.querySelectorAll(".k-later")) each.classList.remove("k-later");
  }

  function hide() {
    stop();
    silence();
    settle();
    $("k-result").hidden = true;
  }

  function size(width, height) {
    const room = Math.min(window.innerHeight * 0.78, 760);
    // The picture as large as there is room for; a small one is magnified by at most four.
    const most = width > 1 ? Math.min((room * width) / height, width * 4) : null;
    $("k-pair").style.width = $("k-turn").style.width = most ? `${most}px` : "min(100%, 640px)";
    $("k-pair").classList.toggle("k-magnified", most !== null && most > 2 * width);
  }

  function view(name) {
    settle();
    stop();
    state.view = name;
    const { result } = state;
    for (const each of document.querySelectorAll("#k-views [role=tab]")) {
      each.setAttribute("aria-selected", String(each.dataset.view === name));
      each.tabIndex = each.dataset.view === name ? 0 : -1;
    }
    const current = result.looks[state.sample];
    hear();
    const steps = name === "steps";
    $("k-strip").hidden = name !== "samples" && !(name === "compare" && result.samples.length > 1);
    $("k-says").textContent = (name === "compare" && result.says) || SAYS[name];
    $("k-turn").hidden = name === "samples";
    $("k-play").hidden = !steps;
    $("k-line").hidden = name !== "compare";
    $("k-over").hidden = steps || name === "samples";
    $("k-over").style.clipPath = $("k-over").style.opacity = "";
    $("k-under").alt = name === "compare" ? "The picture before" : "The mended picture";
    $("k-under").src = url({ compare: result.shown.before, samples: current, gold: result.shown.after, steps: "step1.webp" }[name]);
    if (!$("k-over").hidden) {
      $("k-over").src = url(name === "gold" ? result.shown.gold : state.sample ? current : result.shown.after);
      $("k-over").alt = name === "gold" ? "The same with gold where it was invented" : "The mended picture";
    }
    const slide = $("k-slide");
    slide.max = steps ? result.frames : 100;
    slide.value = { compare: 50, gold: 100, steps: 0 }[name] ?? 0;
    slide.setAttribute("aria-label", { compare: "Before, after", gold: "Strength of the gold", steps: "Step" }[name] || "");
    size(result.width, result.height);
    turned();
    if (steps && !matchMedia("(prefers-reduced-motion: reduce)").matches) play();
  }

  function turned() {
    const value = Number($("k-slide").value);
    if (state.view === "compare") {
      $("k-over").style.clipPath = `inset(0 0 0 ${value}%)`;
      $("k-line").style.left = `calc(${value}% - 1px)`;
    } else if (state.view === "gold") {
      $("k-over").style.opacity = value / 100;
    } else if (state.view === "steps") {
      const last = value >= state.result.frames;
      $("k-under").src = url(last ? state.result.shown.after : `step${value + 1}.webp`);
      $("k-says").textContent = last ? "The result." : `Step ${value + 1} of ${state.result.frames}: what the model makes of the picture.`;
    }
  }

  function play() {
    $("k-play").textContent = "Pause";
    state.timer = setInterval(() => {
      const slide = $("k-slide");
      slide.value = Number(slide.value) >= state.result.frames ? 0 : Number(slide.value) + 1;
      turned();
    }, 600);
  }

  function stop() {
    clearInterval(state.timer);
    state.timer = null;
    $("k-play").textContent = "Play";
  }

  function thumb(name, index) {
    const button = make("button", { type: "button" });
    button.setAttribute("role", "option");
    button.setAttribute("aria-selected", String(index === 0));
    button.append(make("img", { src: url(name), alt: `Sample ${index + 1}` }), make("span", { textContent: `Sample ${index + 1}` }));
    button.onclick = () => {
      state.sample = index;
      for (const each of $("k-strip").children) each.setAttribute("aria-selected", String(each === button));
      view(state.view);
    };
    return button;
  }

  const make = (kind, properties) => Object.assign(document.createElement(kind), properties);
  const tab = (name) => document.querySelector(`#k-views [data-view=${name}]`);

  async function copy(button) {
    const text = $(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // not on a secure page: the old way
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  function ready() {
    const tabs = [...document.querySelectorAll("#k-views [role=tab]")];
    for (const each of tabs) {
      each.onclick = () => view(each.dataset.view);
      each.onkeydown = (event) => {
        const shown = tabs.filter((other) => !other.hidden);
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = shown[(shown.indexOf(each) + step + shown.length) % shown.length];
        next.focus();
        view(next.dataset.view);
      };
    }
    $("k-slide").oninput = () => { stop(); turned(); };
    $("k-play").onclick = () => (state.timer ? stop() : play());
    for (const button of document.querySelectorAll("[data-copy]")) button.onclick = () => copy(button);
    const pair = $("k-pair");
    const drag = (event) => {
      if (state.view !== "compare" || (event.type === "pointermove" && !event.buttons)) return;
      const box = pair.getBoundingClientRect();
      $("k-slide").value = (100 * (event.clientX - box.left)) / box.width;
      turned();
    };
    pair.addEventListener("pointerdown", drag);
    pair.addEventListener("pointermove", drag);
    pair.addEventListener("dragstart", (event) => event.preventDefault());
    window.addEventListener("resize", () => state.result && !$("k-result").hidden && size(state.result.width, state.result.height));
  }

  return { ready, show, preview, hide };
})();
