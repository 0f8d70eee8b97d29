"use strict";
// The page's data, how numbers are written, and Plot: a picture with axes, zoom and hover.

const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 4;
const MARGIN = { left: 66, right: 14, top: 10, bottom: 40 };
const LEAST_DRAG = 8; // pixels
const NEAR = 40; // pixels from a point within which it is shown

function svg(name, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

function html(name, attributes = {}, children = []) {
  const node = Object.assign(document.createElement(name), attributes);
  node.append(...children);
  return node;
}

function known(value) {
  return value !== null && value !== undefined;
}

function written(value, digits = 5) {
  if (!known(value)) return "not held";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(digits));
  return size < 1e-3 || size >= 1e5 ? rounded.toExponential() : String(rounded);
}

function withErrors(value, error, truncation) {
  const lines = [written(value, 6)];
  if (known(value)) {
    if (known(error)) lines.push(`± ${written(error, 2)} ${data.words.error}`);
    if (known(truncation)) lines.push(`± ${written(truncation, 2)} by cutting at 1/n`);
  }
  return lines.join("\n");
}

// Ticks of an axis from low to high; powers of ten, and 2 and 5 times these, of a logarithmic one.
function ticks(low, high, log, whole, most) {
  if (log) {
    const decades = Math.log10(high / low);
    const every = Math.max(1, Math.ceil(decades / most));
    const factors = decades < 1.5 ? [1, 2, 5] : [1];
    const values = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      if (power % every === 0) values.push(...factors.map((factor) => factor * 10 ** power));
    const inside = values.filter((value) => value >= low && value <= high);
    return inside.length > 1 ? inside : ticks(low, high, false, whole, most);
  }
  const unit = 10 ** Math.floor(Math.log10((high - low) / most));
  let step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => (high - low) / size <= most);
  if (whole) step = Math.max(1, Math.round(step));
  const values = [];
  const rounding = 1e-9; // of a step: an end of the axis may be off by it
  for (let k = Math.ceil(low / step - rounding); k <= high / step + rounding; k++) values.push(Number((k * step).toPrecision(12)));
  return values;
}

class Plot {
  constructor(host, label) {
    this.zoomed = null;
    this.tip = html("div", { className: "tip", hidden: true });
    this.svg = svg("svg", { role: "img", "aria-label": label });
    const button = (text, title, action) => html("button", { type: "button", textContent: text, title, onclick: action });
    this.controls = html("div", { className: "controls" }, [
      button("Zoom in", "to the middle; or drag over the picture", () => this.zoom(0.5)),
      button("Zoom out", "", () => this.zoom(2)),
      button("Show all", "", () => this.showAll()),
    ]);
    this.legend = html("div", { className: "legend" });
    host.append(this.controls, html("div", { className: "plot" }, [this.svg, this.tip]), this.legend);
    this.svg.addEventListener("pointerdown", (event) => this.pressed(event));
    this.svg.addEventListener("pointermove", (event) => this.moved(event));
    this.svg.addEventListener("pointerup", (event) => this.released(event));
    this.svg.addEventListener("pointercancel", () => this.dropDrag());
    this.svg.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.svg.addEventListener("dblclick", () => this.showAll());
    new ResizeObserver(() => this.draw()).observe(this.svg.parentNode);
  }

  // Coordinates between 0 and 1 along an axis, and back.
  along(axis, value) {
    const [low, high] = this.view[axis];
    return this.log(axis) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  }

  at(axis, share) {
    const [low, high] = this.view[axis];
    return this.log(axis) ? low * (high / low) ** share : low + share * (high - low);
  }

  x(value) { return MARGIN.left + this.along("x", value) * this.inner.width; }

  y(value) {
    const share = this.along("y", value);
    return MARGIN.top + (this.downwards ? share : 1 - share) * this.inner.height;
  }

  shares(px, py) {
    const clipped = (share) => Math.min(1, Math.max(0, share));
    const down = clipped((py - MARGIN.top) / this.inner.height);
    return { x: clipped((px - MARGIN.left) / this.inner.width), y: this.downwards ? down : 1 - down };
  }

  log() { return false; }

  draw() {
    const width = Math.max(260, this.svg.parentNode.clientWidth);
    const height = this.height(width);
    this.inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.view = this.zoomed ?? this.domain();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    const clip = `clip-${Plot.count = (Plot.count ?? 0) + 1}`;
    const area = { x: MARGIN.left, y: MARGIN.top, width: this.inner.width, height: this.inner.height };
    this.svg.append(svg("clipPath", { id: clip }));
    this.svg.firstChild.append(svg("rect", area));
    this.body = svg("g", { "clip-path": `url(#${clip})` });
    this.axes(area);
    this.svg.append(this.body);
    this.box = svg("rect", { class: "box", visibility: "hidden" });
    this.svg.append(this.box);
    this.fill();
  }

  axes(area) {
    const bottom = area.y + area.height;
    this.svg.append(svg("rect", { ...area, class: "axis" }));
    for (const value of ticks(...this.view.x, this.log("x"), this.whole, Math.max(2, area.width / 70))) {
      const x = this.x(value);
      this.svg.append(svg("path", { class: "axis", d: `M${x} ${bottom}v4` }));
      this.svg.append(svg("text", { x, y: bottom + 16, "text-anchor": "middle" }, written(value, 4)));
    }
    for (const value of ticks(...this.view.y, this.log("y"), this.downwards, area.height / 40)) {
      const y = this.y(value);
      this.svg.append(svg("path", { class: "axis", d: `M${area.x} ${y}h${this.downwards ? -4 : area.width}` }));
      this.svg.append(svg("text", { x: area.x - 6, y: y + 4, "text-anchor": "end" }, written(value, 4)));
    }
    this.svg.append(svg("text", { x: area.x + area.width / 2, y: bottom + 34, "text-anchor": "middle" }, this.labels.x));
    const place = `translate(12 ${area.y + area.height / 2}) rotate(-90)`;
    this.svg.append(svg("text", { transform: place, "text-anchor": "middle" }, this.labels.y));
  }

  show(view) {
    this.zoomed = view;
    this.tip.hidden = true;
    this.draw();
  }

  showAll() { this.show(null); }

  zoom(factor) {
    const from = (1 - factor) / 2, to = (1 + factor) / 2;
    const whole = this.domain();
    const ends = (axis) => {
      const [low, high] = [this.at(axis, from), this.at(axis, to)];
      return [Math.max(low, whole[axis][0]), Math.min(high, whole[axis][1])];
    };
    this.show(this.rounded({ x: ends("x"), y: ends("y") }));
  }

  rounded(view) { return view; }

  place(event) {
    const frame = this.svg.getBoundingClientRect();
    const scale = this.svg.viewBox.baseVal.width / frame.width;
    return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  }

  pressed(event) {
    if (event.pointerType !== "touch") this.svg.setPointerCapture(event.pointerId);
    this.start = this.place(event);
  }

  moved(event) {
    const [x, y] = this.place(event);
    if (!this.start) {
      this.hover(x, y);
      return;
    }
    const [x0, y0] = this.start;
    this.tip.hidden = true;
    const box = { x: Math.min(x, x0), y: Math.min(y, y0), width: Math.abs(x - x0), height: Math.abs(y - y0), visibility: "visible" };
    for (const [key, value] of Object.entries(box)) this.box.setAttribute(key, value);
  }

  dropDrag() {
    this.start = null;
    this.box.setAttribute("visibility", "hidden");
  }

  released(event) {
    if (!this.start) return;
    const end = this.place(event), start = this.start;
    this.dropDrag();
    if (Math.abs(end[0] - start[0]) < LEAST_DRAG || Math.abs(end[1] - start[1]) < LEAST_DRAG) {
      this.hover(...end);
      this.clicked(...end);
      return;
    }
    const [a, b] = [this.shares(...start), this.shares(...end)];
    const ends = (axis) => [a[axis], b[axis]].sort((p, q) => p - q).map((share) => this.at(axis, share));
    if (a.x !== b.x && a.y !== b.y) this.show(this.rounded({ x: ends("x"), y: ends("y") }));
  }

  clicked() {}

  say(text, x, y) {
    this.tip.hidden = text === null;
    if (text === null) return;
    this.tip.textContent = text;
    const width = this.svg.parentNode.clientWidth;
    const left = x + 12 + this.tip.offsetWidth > width ? Math.max(0, x - 12 - this.tip.offsetWidth) : x + 12;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${y + 12}px`;
  }
}
