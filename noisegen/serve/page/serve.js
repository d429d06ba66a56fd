"use strict";

{
  const $ = (id) => document.getElementById(id);
  const PAUSE = 150; // after the last change of a control, in milliseconds
  const SHOWN_BUSY = 250; // shorter work is not announced
  const HEIGHT = { wide: 0.65, narrow: 0.45 }; // of the window, for the pictures; the rest is for the controls
  const ISO_STEPS = 200; // of the coarse slider, whose scale is logarithmic

  let facts = null;
  let picture = null; // { name, blob }
  let view = null; // the numbers of what is shown
  let corner = null; // of the part that is shown; null for the middle
  let room = null; // for the viewer: width and height
  let urls = [];
  let wanted = 0; // counts what was asked for
  let drawn = 0; // the last of those that was answered
  let working = false;
  let waiting = null;

  const thousands = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

  class ServerError extends Error {
    constructor(status, { reason, message }) {
      const ofPicture = message.match(/^the picture(: .*)/s);
      super(ofPicture ? `“${picture.name}”${ofPicture[1]}` : message[0].toUpperCase() + message.slice(1));
      this.status = status;
      this.reason = reason;
    }
  }

  const send = async (address, options) => {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new ServerError(0, { reason: "gone", message: "the server does not answer; is noisegen serve still running?" });
    }
    if (response.ok) return response;
    const told = await response.json().catch(() => ({ reason: "failed", message: "the server failed; its terminal says more" }));
    throw new ServerError(response.status, told);
  };

  const post = (address, further = {}) => {
    const chosen = ["camera", "iso", "strength", "seed"].map((name) => [name, $(name).value.trim()]);
    const query = new URLSearchParams([...chosen, ...Object.entries(further)]);
    return send(`${address}?${query}`, { method: "POST", body: picture.blob });
  };

  // ---- what the viewer shows

  // only when the width changes: phones change the height whenever their address bar comes and goes
  const measure = () => {
    const width = Math.max(1, Math.min(facts.max_side, Math.floor($("viewer").clientWidth)));
    if (room !== null && room.width === width) return;
    const share = window.innerWidth > 820 ? HEIGHT.wide : HEIGHT.narrow;
    room = { width, height: Math.max(240, Math.min(facts.max_side, Math.floor(share * window.innerHeight))) };
    if (view !== null && Math.min(width, view.width) !== view.window[2]) redraw();
  };

  const makeViewer = (width, height) => {
    const make = (name, properties, ...children) => {
      const element = Object.assign(document.createElement(name), properties);
      element.append(...children);
      return element;
    };
    const one = (label, alt) =>
      make(
        "div",
        { className: "picture" },
        make("img", { width, height, alt, decoding: "sync" }),
        make("span", { className: "label", textContent: label }),
      );
    const pictures = make(
      "div",
      { className: "pictures" },
      one("clean", "The clean photograph"),
      one("noisy", "The photograph with noise"),
      one("noise", "The noise alone, amplified, around grey"),
    );
    const caption = make("figcaption", { textContent: "Zoom with + and −, or with the wheel after a click; then drag to move." });
    $("viewer").replaceChildren(make("figure", { className: "compare" }, pictures, caption));
    window.enhanceComparisons($("viewer"));
  };

  const show = async (parts) => {
    const numbers = JSON.parse(await parts.get("numbers").text());
    const fresh = ["clean", "noisy", "noise"].map((name) => URL.createObjectURL(parts.get(name)));
    const [, , width, height] = numbers.window;
    if (view === null || view.window[2] !== width || view.window[3] !== height) makeViewer(width, height);
    $("viewer").querySelectorAll("img").forEach((image, place) => (image.src = fresh[place]));
    const overview = parts.get("overview");
    if (overview) fresh.push(($("whole").src = URL.createObjectURL(overview)));
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = fresh;
    view = numbers;
    showPlace(overview !== null);
  };

  const showNumbers = () => {
    const { width, height, noise_std: std, gain, rule } = view;
    const between = rule.match(/^log-iso (\d+)\.\.(\d+)/);
    $("status").textContent = [
      `${$("camera").value}, ISO ${$("iso").value}${between ? ` (between the known ${between[1]} and ${between[2]})` : ""}`,
      `std of the noise here ${std.toPrecision(3)} (of ${thousands(2 ** facts.bit_depth)} grey levels)`,
      `in its picture amplified × ${gain}`,
    ].join("; ");
    $("name").textContent = `Shown now: ${picture.name}, ${thousands(width)} × ${thousands(height)}`;
    $("download-hint").textContent = `PNG, ${thousands(width)} × ${thousands(height)}, ${facts.bit_depth > 8 ? 16 : 8} bits.`;
  };

  const showPlace = (isPart) => {
    $("place").hidden = !isPart;
    const [x, y, width, height] = view.window;
    for (const [slider, value, most] of [["across", x, view.width - width], ["down", y, view.height - height]]) {
      $(slider).max = most;
      $(slider).value = value;
      $(slider).disabled = most === 0;
    }
    Object.assign($("frame").style, {
      left: `${(100 * x) / view.width}%`,
      top: `${(100 * y) / view.height}%`,
      width: `${(100 * width) / view.width}%`,
      height: `${(100 * height) / view.height}%`,
    });
  };

  // ---- asking, one request at a time; what changed meanwhile is asked for next, so that the last choice wins

  const redraw = (pause = PAUSE) => {
    wanted += 1;
    clearTimeout(waiting);
    waiting = setTimeout(draw, pause);
    busy();
  };

  const draw = async () => {
    clearTimeout(waiting);
    if (working || picture === null) return;
    working = true;
    const asked = wanted;
    const asking = picture;
    try {
      const response = await post("view", { ...room, ...(corner ?? {}) });
      const parts = await response.formData();
      if (asking === picture) {
        complain(null);
        await show(parts);
      }
    } catch (error) {
      if (error.reason === "busy") setTimeout(redraw, 1000);
      else if (asking === picture) complain(error);
    }
    working = false;
    drawn = asked;
    if (wanted !== asked) draw();
    else busy();
  };

  let announcing = null;
  let downloading = false;

  const busy = () => {
    const something = wanted !== drawn || downloading;
    $("result").setAttribute("aria-busy", String(something));
    $("download").disabled = downloading || picture === null;
    if (something === (announcing !== null)) return;
    if (something) announcing = setTimeout(announce, SHOWN_BUSY);
    else {
      clearTimeout(announcing);
      announcing = null;
      $("bar").hidden = true;
      if (view !== null && $("error").hidden) showNumbers();
    }
  };

  const announce = () => {
    $("bar").hidden = false;
    $("status").textContent = downloading ? "Making the picture in full size …" : "Drawing …";
  };

  const complain = (error) => {
    const box = $("error");
    const text = error ? error.message : "";
    if (box.textContent !== text) box.textContent = text; // or else it would be read out again
    box.hidden = error === null;
    $("viewer").classList.toggle("stale", error !== null);
    if (error === null) return;
    $("status").textContent = "";
    if ($("name").textContent.startsWith("Reading")) $("name").textContent = "Nothing to show";
  };

  // ---- controls

  const isos = () => facts.cameras[$("camera").value];

  const showCamera = () => {
    const known = isos();
    const [low, high] = [known[0], known.at(-1)];
    const iso = Number($("iso").value);
    if (!(iso >= low && iso <= high)) $("iso").value = known.reduce((best, one) => (Math.abs(one - iso) < Math.abs(best - iso) ? one : best));
    $("iso").min = low;
    $("iso").max = high;
    $("iso-slider").disabled = low === high;
    $("iso-hint").textContent = low === high ? `The model knows this camera at ISO ${low} only.` : `Any from ${low} to ${high}; the model learned those above.`;
    $("known").replaceChildren(
      ...known.map((value) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: value });
        button.addEventListener("click", () => setIso(value));
        return button;
      }),
    );
    showIso();
  };

  const showIso = () => {
    const iso = Number($("iso").value);
    const [low, high] = [Number($("iso").min), Number($("iso").max)];
    const share = low === high ? 0 : Math.log(iso / low) / Math.log(high / low);
    $("iso-slider").value = Math.round(ISO_STEPS * (Number.isFinite(share) ? share : 0));
    $("iso-slider").setAttribute("aria-valuetext", `ISO ${iso}`);
    for (const button of $("known").children) button.setAttribute("aria-pressed", String(Number(button.textContent) === iso));
  };

  const setIso = (value) => {
    $("iso").value = value;
    showIso();
    redraw();
  };

  // two digits are enough for a slider
  const isoAt = (step) => {
    const [low, high] = [Number($("iso").min), Number($("iso").max)];
    if (step === 0) return low;
    if (step === ISO_STEPS) return high;
    const exact = low * (high / low) ** (step / ISO_STEPS);
    const unit = 10 ** (Math.floor(Math.log10(exact)) - 1);
    return Math.min(high, Math.max(low, Math.round(exact / unit) * unit));
  };

  const take = async (file) => {
    if (!file) return;
    try {
      if (file.size > facts.max_upload) {
        const message = `“${file.name}” has ${thousands(Math.ceil(file.size / 1e6))} MB, more than the ${facts.max_upload / 1e6} MB that are taken; choose a smaller one, or start noisegen serve with a larger --max-upload`;
        throw new ServerError(413, { reason: "upload_too_large", message });
      }
      // in memory, so that it stays the same when the file changes
      const content = await file.arrayBuffer().catch(() => {
        throw new ServerError(0, { reason: "unreadable", message: `“${file.name}” cannot be read; choose the file of a picture` });
      });
      use({ name: file.name, blob: new Blob([content]) });
    } catch (error) {
      complain(error);
    }
  };

  const use = (chosen) => {
    picture = chosen;
    corner = null;
    $("example").hidden = chosen.isExample === true;
    $("name").textContent = `Reading ${chosen.name} …`;
    redraw(0);
  };

  const useExample = async () => {
    try {
      use({ name: "an example", blob: await (await send("example")).blob(), isExample: true });
    } catch (error) {
      complain(error);
    }
  };

  const save = async () => {
    downloading = true;
    busy();
    try {
      const [name, camera, iso, seed] = [picture.name, $("camera").value, $("iso").value, $("seed").value];
      const blob = await (await post("noisy")).blob();
      const stem = picture.isExample ? "example" : name.replace(/\.[^.]*$/, "");
      const link = Object.assign(document.createElement("a"), {
        href: URL.createObjectURL(blob),
        download: `${stem}-${camera}-iso${iso}-seed${seed}.png`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      complain(null);
    } catch (error) {
      complain(error);
    }
    downloading = false;
    busy();
  };

  const moveTo = (x, y) => {
    const [, , width, height] = view.window;
    corner = {
      x: Math.round(Math.min(Math.max(x, 0), view.width - width)),
      y: Math.round(Math.min(Math.max(y, 0), view.height - height)),
    };
    view.window = [corner.x, corner.y, width, height];
    showPlace(true);
    redraw();
  };

  const listen = () => {
    $("file").addEventListener("change", () => take($("file").files[0]).then(() => ($("file").value = "")));
    $("example").addEventListener("click", useExample);
    $("camera").addEventListener("change", () => {
      showCamera();
      redraw();
    });
    $("iso").addEventListener("input", () => {
      showIso();
      redraw();
    });
    $("iso-slider").addEventListener("input", () => setIso(isoAt(Number($("iso-slider").value))));
    $("strength").addEventListener("input", () => {
      $("strength-slider").value = $("strength").value;
      redraw();
    });
    $("strength-slider").addEventListener("input", () => {
      $("strength").value = $("strength-slider").value;
      redraw();
    });
    $("seed").addEventListener("input", () => redraw());
    $("another").addEventListener("click", () => {
      $("seed").value = Math.floor(Math.random() * 1e6);
      redraw();
    });
    $("download").addEventListener("click", save);
    $("form").addEventListener("submit", (event) => event.preventDefault());
    const toSliders = () => moveTo(Number($("across").value), Number($("down").value));
    $("across").addEventListener("input", toSliders);
    $("down").addEventListener("input", toSliders);
    const toPointer = (event) => {
      const box = $("whole").getBoundingClientRect();
      const [, , width, height] = view.window;
      moveTo(
        ((event.clientX - box.left) / box.width) * view.width - width / 2,
        ((event.clientY - box.top) / box.height) * view.height - height / 2,
      );
    };
    $("overview").addEventListener("pointerdown", (event) => {
      $("overview").setPointerCapture(event.pointerId);
      toPointer(event);
    });
    $("overview").addEventListener("pointermove", (event) => event.buttons && toPointer(event));
    $("whole").draggable = false;
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    window.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      take(event.dataTransfer.files[0]);
    });
    new ResizeObserver(measure).observe($("viewer"));
  };

  const begin = async () => {
    try {
      facts = await (await send("model")).json();
    } catch (error) {
      complain(error);
      return;
    }
    // begins where there is most to see: the camera with the widest range, in the middle of it
    const names = Object.keys(facts.cameras);
    const range = (name) => facts.cameras[name].at(-1) / facts.cameras[name][0];
    $("camera").append(...names.map((name) => new Option(name, name)));
    $("camera").value = names.reduce((best, name) => (range(name) > range(best) ? name : best));
    $("iso").value = isos()[Math.floor(isos().length / 2)];
    showCamera();
    measure();
    listen();
    await useExample();
  };

  begin();
}
