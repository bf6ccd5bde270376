"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const [view, stage, divider] = [at("view"), at("stage"), at("divider")];
  const state = { scene: 0, left: data.left, right: data.right, zoom: 0, place: 0.5, masks: false };

  const clip = () => {
    const shift = view.scrollLeft + state.place * view.clientWidth - stage.offsetLeft;
    const edge = Math.max(0, Math.min(stage.offsetWidth, shift));
    for (const id of ["over", "over-mask"]) at(id).style.clipPath = `inset(0 0 0 ${edge}px)`;
    at("under-mask").style.clipPath = `inset(0 ${stage.offsetWidth - edge}px 0 0)`;
    divider.style.left = `${state.place * view.clientWidth}px`;
    divider.setAttribute("aria-valuenow", Math.round(state.place * 100));
    divider.setAttribute("aria-valuetext", `${Math.round(state.place * 100)} % ${data.layers[state.left]}`);
  };

  const size = () => {
    const scene = data.scenes[state.scene];
    const [width, height] = [scene.width / devicePixelRatio, scene.height / devicePixelRatio];
    const room = Math.max(window.innerHeight * 0.78, 120);
    const fit = Math.min(view.clientWidth / width, room / height, 4);
    const zoom = state.zoom || fit;
    stage.style.width = `${width * zoom}px`;
    stage.style.height = `${height * zoom}px`;
    stage.classList.toggle("large", state.zoom > 1);
    view.style.cursor = state.zoom ? "grab" : "ew-resize";
    view.style.touchAction = state.zoom ? "pan-x pan-y" : "pan-y";
    clip();
  };

  const show = () => {
    const scene = data.scenes[state.scene];
    const image = (id, source) => {
      at(id).hidden = !source;
      if (source) at(id).src = source;
    };
    image("under", scene.layers[state.left]);
    image("over", scene.layers[state.right]);
    image("under-mask", state.masks && scene.overlays[state.left]);
    image("over-mask", state.masks && scene.overlays[state.right]);
    at("tag-left").textContent = data.layers[state.left];
    at("tag-right").textContent = data.layers[state.right];
    at("left").value = state.left;
    at("right").value = state.right;
    at("caption").textContent = scene.detail;
    at("masks").setAttribute("aria-pressed", state.masks);
    document.querySelector(".legend").classList.toggle("shown", state.masks);
    document.querySelectorAll("[data-zoom]").forEach((button) =>
      button.setAttribute("aria-pressed", Number(button.dataset.zoom) === state.zoom));
    [...at("scenes").children].forEach((button, n) => button.setAttribute("aria-current", n === state.scene));
    size();
  };

  const change = (changes) => { Object.assign(state, changes); show(); };
  const move = (place) => { state.place = Math.max(0, Math.min(1, place)); clip(); };
  const zoomTo = (zoom) => {
    const [x, y] = ["Width", "Height"].map((side, n) =>
      (view[n ? "scrollTop" : "scrollLeft"] + view[`client${side}`] / 2) / (stage[`offset${side}`] || 1));
    change({ zoom });
    view.scrollTo(x * stage.offsetWidth - view.clientWidth / 2, y * stage.offsetHeight - view.clientHeight / 2);
    clip();
  };

  for (const side of ["left", "right"]) {
    data.layers.forEach((name, n) => at(side).add(new Option(name, n)));
    at(side).addEventListener("change", () => change({ [side]: Number(at(side).value) }));
  }
  data.scenes.forEach((scene, n) => {
    const button = document.createElement("button");
    const image = new Image();
    image.src = scene.thumbnail;
    image.alt = "";
    button.append(image, scene.title);
    button.addEventListener("click", () => change({ scene: n }));
    at("scenes").append(button);
  });
  at("scenes").hidden = data.scenes.length < 2;
  if (data.scenes.length < 2) at("scenes").style.display = "none";
  if (!data.scenes.some((scene) => scene.overlays.some(Boolean))) at("masks").style.display = "none";
  at("masks").addEventListener("click", () => change({ masks: !state.masks }));
  document.querySelectorAll("[data-zoom]").forEach((button) =>
    button.addEventListener("click", () => zoomTo(Number(button.dataset.zoom))));

  // The divider is dragged by its handle; where the whole picture is seen, by any of it; else that moves the picture.
  const drag = (element, begin) => element.addEventListener("pointerdown", (down) => {
    const step = down.button === 0 && begin(down);
    if (!step) return;
    element.setPointerCapture(down.pointerId);
    const end = () => {
      element.removeEventListener("pointermove", step);
      element.removeEventListener("pointerup", end);
      element.removeEventListener("pointercancel", end);
    };
    element.addEventListener("pointermove", step);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
  });
  const follow = (event) => move((event.clientX - view.getBoundingClientRect().left) / view.clientWidth);
  drag(divider, () => follow);
  drag(view, (down) => {
    if (!state.zoom) { follow(down); return follow; }
    if (down.pointerType === "touch") return null; // the browser scrolls
    const [x, y, left, top] = [down.clientX, down.clientY, view.scrollLeft, view.scrollTop];
    return (event) => view.scrollTo(left - event.clientX + x, top - event.clientY + y);
  });
  view.addEventListener("scroll", clip);
  window.addEventListener("resize", size);

  const other = (step) => change({ scene: (state.scene + step + data.scenes.length) % data.scenes.length });
  const keys = {
    ArrowLeft: (event) => move(state.place - (event.shiftKey ? 0.1 : 0.02)),
    ArrowRight: (event) => move(state.place + (event.shiftKey ? 0.1 : 0.02)),
    Home: () => move(0),
    End: () => move(1),
    ArrowUp: () => other(-1),
    ArrowDown: () => other(1),
    0: () => zoomTo(0),
    1: () => zoomTo(1),
    2: () => zoomTo(2),
    4: () => zoomTo(4),
    m: () => change({ masks: !state.masks }),
    x: () => change({ left: state.right, right: state.left }),
  };
  document.addEventListener("keydown", (event) => {
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action(event);
  });
  show();
})();
