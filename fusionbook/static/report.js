"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const figures = Array.from(document.querySelectorAll(".figure"));
  const block = document.getElementById("molecules");
  const molecules = block ? JSON.parse(block.textContent) : { smiles: [], svg: [] };
  const card = document.getElementById("molecule");

  function ink() {
    return getComputedStyle(document.documentElement).getPropertyValue("--figure").trim();
  }

  function draw(place) {
    const { figure, config } = JSON.parse(document.getElementById(place.dataset.source).textContent);
    const layout = figure.layout;
    layout.paper_bgcolor = "rgba(0,0,0,0)";
    layout.font = Object.assign({}, layout.font, { color: ink() });
    delete layout.width;
    return Plotly.newPlot(place, figure.data, layout, config).then(() => {
      place.on("plotly_hover", (event) => show(place, event));
      place.on("plotly_unhover", hide);
    });
  }

  // The picture is shown on the side of the figure where the pointer is not.
  function show(place, event) {
    const point = event.points[0];
    const number = point.customdata;
    if (point.data.meta !== "molecule" || !(number >= 0) || number >= molecules.smiles.length) {
      hide();
      return;
    }
    card.replaceChildren();
    if (molecules.svg[number]) {
      const picture = document.createElement("img");
      picture.alt = "";
      picture.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(molecules.svg[number]);
      card.append(picture);
    }
    const text = document.createElement("p");
    text.textContent = molecules.smiles[number];
    card.append(text);
    card.hidden = false;
    const box = place.getBoundingClientRect();
    const x = event.event ? event.event.clientX : box.left;
    const y = event.event ? event.event.clientY : box.top;
    const left = x < box.left + box.width / 2 ? x + 70 : x - 70 - card.offsetWidth;
    const top = Math.min(Math.max(y - card.offsetHeight - 20, 8), window.innerHeight - card.offsetHeight - 8);
    card.style.left = Math.min(Math.max(left, 8), window.innerWidth - card.offsetWidth - 8) + "px";
    card.style.top = top + "px";
  }

  function hide() {
    card.hidden = true;
  }

  function recolor() {
    for (const place of figures) {
      Plotly.relayout(place, { "font.color": ink() });
    }
  }

  figures
    .reduce((before, place) => before.then(() => draw(place)), Promise.resolve())
    .then(() => document.documentElement.setAttribute("data-drawn", "yes"));
  dark.addEventListener("change", recolor);
  window.addEventListener("scroll", hide, { passive: true });
})();
