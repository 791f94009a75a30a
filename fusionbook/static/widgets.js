// plotly fits a figure to the window only; a box on a notebook page changes its width without the window doing so
// (a tab is opened, a side bar is closed). This widget shows nothing: it watches its view and passes the change on.
// It also sees whether a figure has heard the number of the drawing that the kernel stored last: while plotly's script is loaded
// nobody listens, and plotly ignores a state that is stored later. Then the kernel is asked to send all of the drawing.
// And it names sliders for screen readers, which ipywidgets does not.
function render({ model, el }) {
  const view = () => el.closest(".fb-view");
  const asked = new WeakMap();
  let width = 0;
  const tell = () => window.dispatchEvent(new Event("resize"));
  const watch = new ResizeObserver((entries) => {
    const now = Math.round(entries[0].contentRect.width);
    if (now && now !== width) {
      width = now;
      tell();
    }
  });
  const label = () => {
    for (const handle of view()?.querySelectorAll(".noUi-handle:not([aria-label])") ?? []) {
      handle.setAttribute("aria-label", handle.closest(".widget-inline-hbox")?.querySelector("label")?.textContent ?? "slider");
    }
  };
  const compare = () => {
    label();
    for (const figure of view()?.querySelectorAll(".js-plotly-plot") ?? []) {
      const times = asked.get(figure) ?? 0;
      if (figure.calcdata && times < 5 && (figure.layout.editrevision ?? 0) < model.get("stored")) {
        asked.set(figure, times + 1);
        model.send({ traces: figure.data.length, names: Object.keys(figure.layout) });
      }
    }
  };
  const later = () => setTimeout(compare, 0);
  const drawn = (event) => {
    setTimeout(tell, 0);
    if (view()?.contains(event.detail.element)) {
      later();
    }
  };
  let tries = 0;
  const start = () => {
    if (view()) {
      watch.observe(view());
      later();
    } else if (tries++ < 100) {
      setTimeout(start, 50);
    }
  };
  start();
  document.addEventListener("plotlywidget-after-render", drawn);
  model.on("change:stored", later);
  return () => {
    watch.disconnect();
    document.removeEventListener("plotlywidget-after-render", drawn);
    model.off("change:stored", later);
  };
}

export default { render };
