// plotly fits a figure to the window only; a box on a notebook page changes its width without the window doing so
// (a tab is opened, a side bar is closed). This widget shows nothing: it watches its view and passes the change on.
function render({ el }) {
  let width = 0;
  const tell = () => window.dispatchEvent(new Event("resize"));
  const watch = new ResizeObserver((entries) => {
    const now = Math.round(entries[0].contentRect.width);
    if (now && now !== width) {
      width = now;
      tell();
    }
  });
  const drawn = () => setTimeout(tell, 0);
  let tries = 0;
  const start = () => {
    const view = el.closest(".fb-view");
    if (view) {
      watch.observe(view);
    } else if (tries++ < 100) {
      setTimeout(start, 50);
    }
  };
  start();
  document.addEventListener("plotlywidget-after-render", drawn);
  return () => {
    watch.disconnect();
    document.removeEventListener("plotlywidget-after-render", drawn);
  };
}

export default { render };
