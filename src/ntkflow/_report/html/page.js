// The page's pictures and its other controls.

// Heat maps of quantities by layer, and a chosen pair by layer.
class Pairs {
  constructor(host, picture) {
    this.picture = picture;
    const changed = () => this.draw(false);
    const choice = (names, label, id) => {
      const options = names.map((name, k) => html("option", { value: k, textContent: name }));
      const select = html("select", { onchange: changed }, options);
      select.dataset.role = id;
      return [select, html("label", {}, [label, select])];
    };
    let labels = [];
    [this.quantity, labels[0]] = choice(picture.quantities.map((quantity) => quantity.label), "Quantity", "quantity");
    this.layer = html("input", { type: "range", min: 0, max: picture.layers.length - 1, step: 1, value: picture.layers.length - 1, oninput: changed });
    this.layer.dataset.role = "layer";
    this.layer.setAttribute("aria-label", "layer");
    this.layerName = html("output");
    labels[1] = html("label", {}, ["Layer", this.layer, this.layerName]);
    [this.alpha, labels[2]] = choice(picture.rows, "Sample α", "alpha");
    [this.beta, labels[3]] = choice(picture.columns, "β", "beta");
    const several = picture.rows.length * picture.columns.length > 1;
    const upper = html("div"), lower = html("div");
    host.append(html("div", { className: "controls" }, labels.slice(0, several ? 2 : 1)));
    this.map = several ? new HeatMap(upper, picture.title, (i, j) => this.choosePair(i, j)) : null;
    host.append(upper, html("div", { className: "controls" }, labels.slice(2)), lower);
    const last = Math.min(1, picture.columns.length - 1);
    this.beta.value = last;
    this.pair = new Chart(lower, this.ofPair());
    this.draw(true);
  }

  choosePair(i, j) {
    this.alpha.value = i;
    this.beta.value = j;
    this.draw(false);
  }

  // Of a symmetric matrix the upper triangle is there, row by row.
  index(i, j) {
    const columns = this.picture.columns.length;
    if (!this.picture.symmetric) return i * columns + j;
    const [a, b] = i < j ? [i, j] : [j, i];
    return a * columns - (a * (a - 1)) / 2 + b - a;
  }

  draw(first) {
    const quantity = this.picture.quantities[this.quantity.value], layer = Number(this.layer.value);
    this.layerName.textContent = this.picture.layers[layer];
    const of = (name) => (i, j) => quantity[name]?.[layer]?.[this.index(i, j)];
    this.map?.set({
      rows: this.picture.rows, columns: this.picture.columns, labels: this.picture.labels,
      value: of("values"), error: of("errors"), truncation: of("truncations"),
    }, first);
    this.pair.set(this.ofPair());
  }

  ofPair() {
    const { picture } = this, quantity = picture.quantities[this.quantity.value];
    const k = this.index(Number(this.alpha.value), Number(this.beta.value));
    const by = (name) => quantity[name]?.map((layer) => layer?.[k]);
    const label = `${quantity.label}, α ${picture.rows[this.alpha.value]}, β ${picture.columns[this.beta.value]}`;
    const series = { label, at: picture.layers, values: by("values"), errors: by("errors"), truncations: by("truncations") };
    return { title: label, x: "layer", y: quantity.symbol, whole: true, log: false, from_zero: true, series: [series] };
  }
}

// Charts of which one is chosen.
class Choice {
  constructor(host, picture) {
    const options = picture.charts.map((chart, k) => html("option", { value: k, textContent: chart.title }));
    const select = html("select", { onchange: () => this.chart.set(picture.charts[select.value]) }, options);
    select.dataset.role = "chart";
    host.append(html("div", { className: "controls" }, [html("label", {}, [picture.label, select])]));
    this.chart = new Chart(host, picture.charts[0]);
  }
}

const KINDS = { chart: Chart, pairs: Pairs, choice: Choice };
for (const host of document.querySelectorAll(".picture")) {
  const picture = data.pictures[host.dataset.picture];
  new KINDS[picture.kind](host, picture);
}

// What is folded is printed too.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

const theme = document.getElementById("theme");
theme.addEventListener("change", () => {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
});

document.getElementById("save-inputs")?.addEventListener("click", () => {
  const { base64, shape } = data.inputs;
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const numbers = new Float64Array(bytes.buffer);
  const rows = Array.from({ length: shape[0] }, (_, k) => numbers.slice(k * shape[1], (k + 1) * shape[1]).join(","));
  const link = html("a", { download: "inputs.csv", href: URL.createObjectURL(new Blob([rows.join("\n") + "\n"], { type: "text/csv" })) });
  link.click();
});
