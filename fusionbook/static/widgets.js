// plotly fits a figure to the window only; a box on a notebook page changes its width without the window doing so
// (a tab is opened, a side bar is closed). This widget shows nothing: it watches its view and its figure's box, and passes the change on.
// It also sees whether a figure has heard the number of the drawing that the kernel stored last: while plotly's script is loaded
// nobody listens, and plotly ignores a state that is stored later. Then the kernel is asked to send all of the drawing.
// It saves the figure as a picture when the kernel asks for it, by plotly's own button.
// And it names sliders for screen readers, which ipywidgets does not.
function render({ model, el }) {
  const view = () => el.closest(".fb-view");
  const asked = new WeakMap();
  const widths = new WeakMap();
  const tell = () => window.dispatchEvent(new Event("resize"));
  const watch = new ResizeObserver((entries) => {
    const changed = entries.filter(({ target, contentRect }) => {
      const now = Math.round(contentRect.width);
      const differs = now && now !== widths.get(target);
      if (differs) {
        widths.set(target, now);
      }
      return differs;
    });
    if (changed.length) {
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
      const box = figure.closest(".jupyter-widgets.widget-container");
      if (box && !widths.has(box)) {
        watch.observe(box); // a panel beside the figure comes and goes
      }
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
  const save = ({ picture, name }) => {
    const figure = [...(view()?.querySelectorAll(".js-plotly-plot") ?? [])].find((one) => one.getClientRects().length);
    const key = figure?.querySelector('.modebar-btn[data-title^="Download"]');
    if (!picture || !key) {
      return;
    }
    const { toImageButtonOptions: options } = figure._context;
    const paper = figure.layout.paper_bgcolor;
    figure._context.toImageButtonOptions = { ...options, format: picture, filename: name, scale: picture === "png" ? 2 : 1 };
    figure.layout.paper_bgcolor = "#ffffff"; // plotly copies the layout while the key is clicked
    key.click();
    figure.layout.paper_bgcolor = paper;
    figure._context.toImageButtonOptions = options;
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
  model.on("msg:custom", save);
  return () => {
    watch.disconnect();
    document.removeEventListener("plotlywidget-after-render", drawn);
    model.off("change:stored", later);
    model.off("msg:custom", save);
  };
}

export default { render };
