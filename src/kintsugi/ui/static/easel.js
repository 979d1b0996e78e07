// The easel: takes a file, and paints a mask over a picture at its own size.
"use strict";
window.kintsugi = window.kintsugi || {};
kintsugi.easel = (() => {
  const $ = (id) => document.getElementById(id);
  const GOLD = "#d9a441";
  const NOTHING = { file: null, example: null, url: null, craft: "", strokes: [], base: null, at: null, width: 0, height: 0 };
  const state = { craft: "", file: null, example: null, url: null, name: "", width: 0, height: 0, strokes: [], base: null, erase: false, at: null };
  let brush = 20; // diameter, in thousandths of the longer side

  const has = () => state.file !== null || state.example !== null;
  const diameter = () => Math.max(1, (brush * Math.max(state.width, state.height)) / 500);

  // How each kind of file is looked at, by its address and name.
  const SHOW = { pictures: showPicture, sounds: showSound };

  async function showPicture(source, name) {
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
    } catch {
      $("k-stage").hidden = true;
      return caption(`${name} (this browser cannot show it; the server may be able to read it)`);
    }
    state.width = image.naturalWidth;
    state.height = image.naturalHeight;
    for (const id of ["k-picture", "k-mask"]) {
      $(id).width = state.width;
      $(id).height = state.height;
    }
    $("k-picture").getContext("2d").drawImage(image, 0, 0);
    $("k-picture").classList.toggle("k-small", Math.max(state.width, state.height) < 400);
    $("k-stage").hidden = false;
    caption(`${name}, ${state.width} × ${state.height}`);
  }

  function showSound(source, name) {
    const player = $("k-listen");
    $("k-stage").hidden = true;
    player.onloadedmetadata = () => { player.hidden = false; caption(`${name}, ${player.duration.toFixed(1)} s`); };
    player.onerror = () => { player.hidden = true; caption(`${name} (this browser cannot play it; the server may be able to read it)`); };
    player.src = source;
    caption(name);
  }

  function caption(text) {
    $("k-name").textContent = text;
    $("k-drop").hidden = true;
    $("k-board").hidden = false;
  }

  function reset() {
    if (state.url) URL.revokeObjectURL(state.url);
    Object.assign(state, NOTHING, { strokes: [] });
    $("k-cursor").hidden = $("k-listen").hidden = true;
    $("k-listen").removeAttribute("src");
  }

  async function take(file) {
    kintsugi.error("");
    const most = kintsugi.limits().upload;
    if (file.size > most) {
      kintsugi.error(`${file.name} is too large: this page takes up to ${(most / 2 ** 20).toFixed(0)} MiB.`);
      return;
    }
    const craft = craftOf(file);
    if (!kintsugi.limits().crafts.includes(craft)) {
      kintsugi.error(`${file.name}: this page has a model of ${kintsugi.limits().crafts[0]} only.`);
      return;
    }
    reset();
    Object.assign(state, { file, url: URL.createObjectURL(file), name: file.name, craft });
    kintsugi.craft(craft);
    await SHOW[craft](state.url, file.name);
    kintsugi.taken();
  }

  // By its name, as the command line does.
  function craftOf(file) {
    const suffix = (/\.[^.]*$/.exec(file.name) || [""])[0].toLowerCase();
    return kintsugi.limits().suffixes.includes(suffix) ? "sounds" : "pictures";
  }

  async function takeExample({ example, file, craft, wrong, mask }) {
    reset();
    Object.assign(state, { example, name: example, craft });
    kintsugi.craft(craft);
    kintsugi.error("");
    await SHOW[craft](`mend/examples/${file}`, example);
    kintsugi.choose(wrong);
    if (mask) await takeMask(`mend/examples/${mask}`);
    kintsugi.taken();
  }

  async function takeMask(source) {
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
    } catch {
      return kintsugi.error("That mask is not a picture that this browser can read.");
    }
    if (image.naturalWidth !== state.width || image.naturalHeight !== state.height) {
      const sizes = `${image.naturalWidth} × ${image.naturalHeight}, the picture ${state.width} × ${state.height}`;
      return kintsugi.error(`The mask must be as large as the picture: it has ${sizes}.`);
    }
    const canvas = blank();
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const data = pen.getImageData(0, 0, state.width, state.height);
    const gold = [217, 164, 65];
    for (let i = 0; i < data.data.length; i += 4) {
      const missing = data.data[i] + data.data[i + 1] + data.data[i + 2] >= 383;
      data.data.set([...gold, missing ? 255 : 0], i);
    }
    pen.putImageData(data, 0, 0);
    Object.assign(state, { base: canvas, strokes: [] });
    draw();
  }

  function blank() {
    const canvas = document.createElement("canvas");
    canvas.width = state.width;
    canvas.height = state.height;
    return canvas;
  }

  function draw() {
    const pen = $("k-mask").getContext("2d");
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, state.width, state.height);
    if (state.base) pen.drawImage(state.base, 0, 0);
    for (const stroke of state.strokes) trace(pen, stroke);
  }

  function trace(pen, { points, width, erase }) {
    pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
    pen.strokeStyle = pen.fillStyle = GOLD;
    pen.lineWidth = width;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    if (points.length === 1) {
      pen.arc(points[0][0], points[0][1], width / 2, 0, 7);
      pen.fill();
    } else {
      points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
    }
  }

  // White where pixels are missing, black elsewhere, in a PNG; null where nothing is painted.
  async function mask() {
    if (!state.width) return null;
    const data = $("k-mask").getContext("2d").getImageData(0, 0, state.width, state.height);
    let painted = false;
    for (let i = 0; i < data.data.length; i += 4) {
      const missing = data.data[i + 3] >= 128;
      painted = painted || missing;
      data.data.fill(missing ? 255 : 0, i, i + 3);
      data.data[i + 3] = 255;
    }
    if (!painted) return null;
    const canvas = blank();
    canvas.getContext("2d").putImageData(data, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  function point(event) {
    const box = $("k-mask").getBoundingClientRect();
    return [((event.clientX - box.left) * state.width) / box.width, ((event.clientY - box.top) * state.height) / box.height];
  }

  function pointTo([x, y]) {
    const box = $("k-mask").getBoundingClientRect();
    const cursor = $("k-cursor");
    state.at = [Math.min(Math.max(x, 0), state.width), Math.min(Math.max(y, 0), state.height)];
    cursor.style.left = `${(state.at[0] * box.width) / state.width}px`;
    cursor.style.top = `${(state.at[1] * box.height) / state.height}px`;
    cursor.style.width = cursor.style.height = `${(diameter() * box.width) / state.width}px`;
    cursor.hidden = !painting();
  }

  const painting = () => document.body.dataset.wrong === "holes" && has();

  function begin(at) {
    state.strokes.push({ points: [at], width: diameter(), erase: state.erase });
    draw();
  }

  function tool(erase) {
    state.erase = erase;
    $("k-paint").setAttribute("aria-pressed", String(!erase));
    $("k-erase").setAttribute("aria-pressed", String(erase));
  }

  function resize(to) {
    brush = Math.min(100, Math.max(1, to));
    $("k-size").value = brush;
    if (state.at) pointTo(state.at);
  }

  function undo() {
    if (state.strokes.length) state.strokes.pop();
    else state.base = null;
    draw();
  }

  function keys(event) {
    if (!painting() || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = Math.max(1, diameter() * (event.shiftKey ? 1.5 : 0.4));
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const at = state.at || [state.width / 2, state.height / 2];
    if (event.key in moves) pointTo([at[0] + moves[event.key][0], at[1] + moves[event.key][1]]);
    else if (event.key === " ") { pointTo(at); begin(state.at); }
    else if (event.key === "e") tool(!state.erase);
    else if (event.key === "u") undo();
    else if (event.key === "+" || event.key === "=") resize(brush * 1.25 + 1);
    else if (event.key === "-") resize(brush / 1.25);
    else return;
    event.preventDefault();
  }

  function ready() {
    const easel = $("k-easel"), canvas = $("k-mask");
    let down = false;
    $("k-choose").onclick = $("k-other").onclick = () => $("k-file").click();
    $("k-file").onchange = (event) => { if (event.target.files[0]) take(event.target.files[0]); event.target.value = ""; };
    $("k-mask-choose").onclick = () => $("k-mask-file").click();
    $("k-mask-file").onchange = (event) => { if (event.target.files[0]) takeMask(URL.createObjectURL(event.target.files[0])); event.target.value = ""; };
    for (const button of document.querySelectorAll("[data-example]")) {
      button.onclick = () => takeExample(button.dataset);
    }
    for (const kind of ["dragenter", "dragover"]) easel.addEventListener(kind, (event) => { event.preventDefault(); easel.classList.add("k-over"); });
    for (const kind of ["dragleave", "drop"]) easel.addEventListener(kind, () => easel.classList.remove("k-over"));
    easel.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]); });
    document.addEventListener("paste", (event) => { const file = [...(event.clipboardData?.files || [])][0]; if (file) take(file); });
    canvas.addEventListener("pointerdown", (event) => {
      if (!painting() || event.button) return;
      down = true;
      canvas.setPointerCapture(event.pointerId);
      begin(point(event));
      pointTo(point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!painting()) return;
      pointTo(point(event));
      if (!down) return;
      for (const each of event.getCoalescedEvents?.() || [event]) state.strokes.at(-1).points.push(point(each));
      draw();
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (down = false));
    canvas.addEventListener("pointerleave", () => { if (!down) $("k-cursor").hidden = true; });
    canvas.addEventListener("keydown", keys);
    canvas.addEventListener("blur", () => ($("k-cursor").hidden = true));
    $("k-paint").onclick = () => tool(false);
    $("k-erase").onclick = () => tool(true);
    $("k-size").oninput = (event) => resize(Number(event.target.value));
    $("k-undo").onclick = undo;
    $("k-clear").onclick = () => { Object.assign(state, { strokes: [], base: null }); draw(); };
    const limits = kintsugi.limits();
    const bounds = { pictures: `${limits.megapixels} megapixels`, sounds: `${limits.seconds} seconds` };
    const accepted = { pictures: ["image/*", ".tif", ".tiff"], sounds: ["audio/*", ...limits.suffixes] };
    const things = { pictures: "picture", sounds: "sound" };
    $("k-bounds").textContent = `Up to ${(limits.upload / 2 ** 20).toFixed(0)} MiB, ${limits.crafts.map((craft) => bounds[craft]).join(" or ")}.`;
    $("k-file").accept = limits.crafts.flatMap((craft) => accepted[craft]).join(",");
    for (const each of document.querySelectorAll(".k-thing")) each.textContent = limits.crafts.map((craft) => things[craft]).join(" or a ");
  }

  return { ready, has, mask, state };
})();
