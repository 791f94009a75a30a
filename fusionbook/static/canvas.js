// A plotly figure whose script comes to the page once. plotly sends its script, 5 MB, with every figure, and anywidget lets a
// figure go deaf if its script is not there within two seconds. Here every figure is ready at once; the script waits in a
// widget of its own and is run when the first figure is drawn.
const shared = (globalThis.fusionbookPlotly ??= {});
shared.source ??= new Promise((resolve) => {
  shared.give = resolve;
});

async function load() {
  const url = URL.createObjectURL(new Blob([await shared.source], { type: "text/javascript" }));
  return import(url);
}

function initialize({ model }) {
  if (model.get("source")) {
    shared.give(model.get("source"));
  }
}

async function render({ model, el, signal }) {
  const script = await (shared.script ??= load());
  if (signal?.aborted) {
    return;
  }
  const figure = script.default();
  figure.initialize({ model });
  return figure.render({ model, el });
}

export default { initialize, render };
