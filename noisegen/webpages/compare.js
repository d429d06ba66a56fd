// Turns <figure class="compare"> (noisegen/webpages/viewer.py) into a viewer with a slider and a zoom.
"use strict";

{
  const LEVELS = [1, 2, 4, 8]; // screen pixels for one of the picture
  const HANDLE = 14; // so near to the slider's edge, in screen pixels, a drag moves it and not the picture
  const HEIGHT = 0.8; // of the window that a viewer may take
  let viewers = 0;

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  const enhance = (figure) => {
    const stage = figure.querySelector(".pictures");
    const pictures = [...stage.querySelectorAll(".picture")];
    if (figure.classList.contains("live") || pictures.length < 2) return;
    const images = pictures.map((picture) => picture.querySelector("img"));
    const names = pictures.map((picture) => picture.querySelector(".label").textContent);
    const width = Number(images[0].getAttribute("width"));
    const height = Number(images[0].getAttribute("height"));
    const caption = figure.querySelector("figcaption");
    const id = `viewer-${++viewers}`;
    let right = 1;
    let share = 50; // of the stage's width that the left picture covers, in percent
    let scale = 1;
    let levels = LEVELS;
    let x = 0; // of the picture's corner on the stage, in screen pixels
    let y = 0;

    const edge = make("div", { className: "edge" });
    const slider = make("input", { type: "range", min: 0, max: 100, step: 1, value: share });
    const smaller = make("button", { type: "button", textContent: "−", title: "Zoom out" });
    const larger = make("button", { type: "button", textContent: "+", title: "Zoom in" });
    const zoom = make("output", {});
    const choices = make("div", { className: "choices" });
    const buttons = make("div", { className: "buttons" }, choices, smaller, zoom, larger);
    const controls = make("div", { className: "controls" }, slider, buttons);

    const draw = () => {
      const fits = width * scale <= stage.clientWidth + 1 && height * scale <= stage.clientHeight + 1;
      x = clamp(x, Math.min(0, stage.clientWidth - width * scale), 0);
      y = clamp(y, Math.min(0, stage.clientHeight - height * scale), 0);
      figure.classList.toggle("zoomed", !fits);
      stage.classList.toggle("smooth", scale < 1);
      pictures.forEach((picture, place) => {
        picture.hidden = place !== 0 && place !== right;
        picture.classList.toggle("right", place !== 0);
        picture.style.clipPath = place === 0 ? `inset(0 ${100 - share}% 0 0)` : `inset(0 0 0 ${share}%)`;
        images[place].style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      });
      edge.style.left = `${share}%`;
      slider.value = share;
      slider.setAttribute("aria-valuetext", `${Math.round(share)} % ${names[0]}, the rest ${names[right]}`);
      [...choices.children].forEach((button, place) => button.setAttribute("aria-pressed", place + 1 === right));
      zoom.textContent = LEVELS.includes(scale) ? `${scale}:1` : `${Math.round(100 * scale)} %`;
      // not `disabled`, which would drop the focus
      smaller.setAttribute("aria-disabled", scale <= levels[0]);
      larger.setAttribute("aria-disabled", scale >= levels[levels.length - 1]);
    };

    // keeps the point at (atX, atY) of the stage where it is
    const zoomTo = (level, atX = stage.clientWidth / 2, atY = stage.clientHeight / 2) => {
      x = atX - ((atX - x) * level) / scale;
      y = atY - ((atY - y) * level) / scale;
      scale = level;
      draw();
    };

    const step = (direction, ...at) => {
      const next = levels[clamp(levels.indexOf(scale) + direction, 0, levels.length - 1)];
      if (next !== scale) zoomTo(next, ...at);
    };

    // the buttons are one stop of the tab key; arrows go from one to the next
    const toolbar = () => {
      const all = [...buttons.querySelectorAll("button")];
      const reach = (button) => all.forEach((each) => (each.tabIndex = each === button ? 0 : -1));
      reach(all[0]);
      buttons.setAttribute("role", "toolbar");
      buttons.setAttribute("aria-label", "View");
      buttons.addEventListener("focusin", (event) => reach(event.target));
      buttons.addEventListener("keydown", (event) => {
        const at = all.indexOf(event.target);
        const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 };
        if (!(event.key in places) || event.ctrlKey || event.metaKey || event.altKey) return;
        all[(places[event.key] + all.length) % all.length].focus();
        event.preventDefault();
      });
    };

    // a small picture starts as large as there is room for, a large one whole
    const fit = () => {
      const room = Math.min(figure.clientWidth / width, Math.max(240, HEIGHT * window.innerHeight) / height);
      const whole = Math.min(1, room);
      levels = whole < 1 ? [whole, ...LEVELS] : LEVELS;
      const first = whole < 1 ? whole : LEVELS.filter((level) => level <= room).pop();
      stage.style.width = `${Math.round(width * first)}px`;
      slider.style.width = stage.style.width;
      stage.style.height = `${Math.round(height * first)}px`;
      controls.style.width = `max(${Math.round(width * first)}px, min(100%, 330px))`;
      x = y = 0;
      scale = first;
      draw();
    };

    slider.addEventListener("input", () => {
      share = Number(slider.value);
      draw();
    });
    smaller.addEventListener("click", () => step(-1));
    larger.addEventListener("click", () => step(1));
    stage.addEventListener(
      "wheel",
      (event) => {
        // the page scrolls as usual until the viewer is in use
        if (!event.ctrlKey && !figure.contains(document.activeElement)) return;
        event.preventDefault();
        const box = stage.getBoundingClientRect();
        step(event.deltaY < 0 ? 1 : -1, event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
    stage.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in moves && figure.classList.contains("zoomed")) {
        const distance = stage.clientWidth / 8;
        x += distance * moves[event.key][0];
        y += distance * moves[event.key][1];
        draw();
      } else if (event.key === "+" || event.key === "=") step(1);
      else if (event.key === "-") step(-1);
      else return;
      event.preventDefault();
    });
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const box = stage.getBoundingClientRect();
      const fromEdge = event.clientX - box.left - (share / 100) * box.width;
      const slides = !figure.classList.contains("zoomed") || Math.abs(fromEdge) <= HANDLE;
      let [lastX, lastY] = [event.clientX, event.clientY];
      const move = (to) => {
        if (slides) share = clamp((100 * (to.clientX - box.left)) / box.width, 0, 100);
        else {
          x += to.clientX - lastX;
          y += to.clientY - lastY;
          [lastX, lastY] = [to.clientX, to.clientY];
        }
        draw();
      };
      const end = () => {
        stage.classList.remove("dragged");
        stage.removeEventListener("pointermove", move);
      };
      stage.setPointerCapture(event.pointerId);
      stage.classList.add("dragged");
      stage.addEventListener("pointermove", move);
      stage.addEventListener("pointerup", end, { once: true });
      stage.addEventListener("pointercancel", end, { once: true });
      if (slides) move(event);
    });

    caption.id ||= `${id}-caption`;
    images.forEach((image) => (image.draggable = false));
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", "Pictures: + and − zoom, arrow keys move");
    stage.setAttribute("aria-describedby", caption.id);
    slider.setAttribute("aria-label", `How much is ${names[0]}`);
    smaller.setAttribute("aria-label", "Zoom out");
    larger.setAttribute("aria-label", "Zoom in");
    zoom.setAttribute("aria-label", "Zoom");
    if (pictures.length > 2) {
      choices.setAttribute("role", "group");
      choices.setAttribute("aria-label", "Right of the slider");
      choices.append(
        ...names.slice(1).map((name, place) => {
          const button = make("button", { type: "button", textContent: name });
          button.addEventListener("click", () => {
            right = place + 1;
            draw();
          });
          return button;
        }),
      );
    }
    toolbar();
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-labelledby", caption.id);
    figure.classList.add("live");
    stage.append(edge);
    stage.after(controls);
    // also when a viewer that was hidden is shown
    let room = 0;
    new ResizeObserver(() => {
      if (figure.clientWidth === room) return;
      room = figure.clientWidth;
      if (room > 0) fit();
    }).observe(figure);
  };

  window.enhanceComparisons = (root = document) => root.querySelectorAll("figure.compare").forEach(enhance);
  window.enhanceComparisons();
}
