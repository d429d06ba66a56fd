// Puts a select for each key before <div class="gallery"> (noisegen/webpages/viewer.py).
"use strict";

{
  const enhance = (gallery) => {
    const keys = gallery.dataset.keys.split("|");
    const items = [...gallery.children];
    const value = (item, place) => item.getAttribute(`data-${place}`);
    const count = document.createElement("output");
    const selects = keys.map((key, place) => {
      const select = document.createElement("select");
      const values = [...new Set(items.map((item) => value(item, place)))];
      values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      select.append(new Option("all", ""), ...values.map((name) => new Option(name)));
      return select;
    });
    const choose = () => {
      // what there is none of beside the other choices cannot be chosen
      selects.forEach((select, place) => {
        const others = items.filter((item) =>
          selects.every((other, at) => at === place || !other.selectedIndex || value(item, at) === other.value),
        );
        [...select.options].slice(1).forEach((option) => {
          option.disabled = !others.some((item) => value(item, place) === option.value);
        });
      });
      items.forEach((item) => {
        item.hidden = !selects.every((select, at) => !select.selectedIndex || value(item, at) === select.value);
      });
      const shown = items.filter((item) => !item.hidden).length;
      count.textContent = `${shown} of ${items.length} ${gallery.dataset.what}`;
    };
    const chooser = document.createElement("div");
    chooser.className = "chooser";
    selects.forEach((select, place) => {
      const label = document.createElement("label");
      label.append(keys[place], select);
      select.addEventListener("change", choose);
      chooser.append(label);
    });
    chooser.append(count);
    gallery.before(chooser);
    choose();
  };

  document.querySelectorAll(".gallery[data-keys]").forEach(enhance);
}
