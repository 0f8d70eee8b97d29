// Chart and HeatMap, which draw in a Plot.

// Series of points with their errors and bands, as lines or as points alone.
class Chart extends Plot {
  constructor(host, picture) {
    super(host, picture.title);
    this.logarithmic = html("input", { type: "checkbox", onchange: () => this.showAll() });
    this.controls.append(html("label", {}, [this.logarithmic, "logarithmic"]));
    this.set(picture);
  }

  set(picture) {
    this.picture = picture;
    this.labels = { x: picture.x, y: picture.y };
    this.whole = picture.whole;
    this.logarithmic.checked = picture.log;
    this.logarithmic.disabled = !picture.series.some((series) => series.values.some((value) => value > 0));
    this.legend.replaceChildren(...picture.series.map((series, k) => {
      const mark = html("i");
      mark.style.background = this.colour(k);
      return html("span", {}, [mark, series.label + (series.band ? ` (band: ${series.band.label})` : "")]);
    }));
    this.showAll();
  }

  colour(k) { return `var(--c${k % COLOURS})`; }

  log(axis) { return axis === "y" ? this.logarithmic.checked : this.picture.log_x; }

  height(width) { return Math.min(340, Math.max(240, width * 0.6)); }

  domain() {
    const xs = [], ys = [];
    for (const series of this.picture.series) {
      series.values.forEach((value, k) => {
        if (!this.drawable(value)) return;
        xs.push(series.at[k]);
        const error = this.error(series, k);
        ys.push(value, value + error, value - error, series.band?.low[k], series.band?.high[k]);
      });
    }
    return { x: this.range("x", xs), y: this.range("y", ys) };
  }

  range(axis, candidates) {
    const values = candidates.filter((value) => known(value) && (!this.log(axis) || value > 0));
    if (!values.length) return this.log(axis) ? [0.1, 10] : [0, 1];
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (this.log(axis)) {
      if (axis === "y") low = Math.max(low, this.least() / 10);
      const room = Math.max((high / low) ** 0.06, 1.1);
      return [low / room, high * room];
    }
    if (axis === "y" && this.picture.from_zero) low = Math.min(low, 0);
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [axis === "y" && this.picture.from_zero && low === 0 ? 0 : low - room, high + room];
  }

  least() {
    const values = this.picture.series.flatMap((series) => series.values).filter((value) => value > 0);
    return values.length ? Math.min(...values) : 1;
  }

  drawable(value) { return known(value) && (!this.log("y") || value > 0); }

  error(series, k) { return (series.errors?.[k] ?? 0) + (series.truncations?.[k] ?? 0); }

  inside(value) {
    return this.log("y") ? Math.max(value, this.view.y[0] / 10) : value;
  }

  fill() {
    const drawn = this.picture.series.map((series) =>
      series.at.map((at, k) => ({ at, k })).filter(({ at, k }) => this.drawable(series.values[k]) && (!this.log("x") || at > 0)));
    if (this.picture.diagonal) {
      const [low, high] = [Math.max(this.view.x[0], this.view.y[0]), Math.min(this.view.x[1], this.view.y[1])];
      if (low < high) this.body.append(svg("path", {
        class: "axis", d: `M${this.x(low)} ${this.y(low)}L${this.x(high)} ${this.y(high)}`, style: "stroke: var(--faint); stroke-dasharray: 5 4",
      }));
    }
    this.picture.series.forEach((series, s) => {
      const points = drawn[s], stroke = this.colour(s);
      if (series.band) {
        const edge = (name, list) => list.map(({ at, k }) => `${this.x(at)} ${this.y(this.inside(series.band[name][k]))}`);
        const banded = points.filter(({ k }) => known(series.band.low[k]) && known(series.band.high[k]));
        const outline = [...edge("low", banded), ...edge("high", [...banded].reverse())];
        this.body.append(svg("polygon", { points: outline.join(" "), style: `fill: ${stroke}; fill-opacity: .18` }));
      }
      for (const { at, k } of points) {
        const value = series.values[k], error = this.error(series, k);
        if (error > 0) this.body.append(svg("path", {
          d: `M${this.x(at)} ${this.y(this.inside(value - error))}V${this.y(value + error)}`, style: `stroke: ${stroke}; stroke-width: 5; stroke-opacity: .35`,
        }));
      }
      if (!this.picture.points_only) {
        const line = points.map(({ at, k }) => `${this.x(at)} ${this.y(series.values[k])}`);
        this.body.append(svg("polyline", {
          points: line.join(" "), style: `stroke: ${stroke}; stroke-width: 1.6; fill: none; ${series.dashed ? "stroke-dasharray: 5 4" : ""}`,
        }));
      }
      for (const { at, k } of points)
        this.body.append(svg("circle", { cx: this.x(at), cy: this.y(series.values[k]), r: points.length > 60 ? 2 : 3, style: `fill: ${stroke}` }));
    });
    this.drawn = drawn;
  }

  hover(px, py) {
    let best = null;
    this.picture.series.forEach((series, s) => {
      for (const { at, k } of this.drawn[s]) {
        const distance = Math.hypot(this.x(at) - px, this.y(series.values[k]) - py);
        if (distance < (best?.distance ?? NEAR)) best = { distance, series, at, k };
      }
    });
    if (best === null) return this.say(null);
    const { series, at, k } = best;
    const value = series.errors || series.truncations
      ? withErrors(series.values[k], series.errors?.[k], series.truncations?.[k]) : written(series.values[k], 6);
    const where = series.names?.[k] ?? `${this.picture.x} ${written(at, 6)}`;
    this.say(`${series.label}\n${where}: ${value}`, this.x(at), this.y(series.values[k]));
  }
}

// A matrix over pairs of samples.
class HeatMap extends Plot {
  constructor(host, label, choose) {
    super(host, label);
    this.choose = choose;
    this.downwards = true;
    this.svg.parentNode.classList.add("square");
  }

  set(matrix, changed) {
    this.matrix = matrix; // {rows, columns, value, error, truncation}: the last three are functions of (row, column)
    this.labels = { x: matrix.labels[1], y: matrix.labels[0] };
    changed ? this.showAll() : this.draw();
  }

  height(width) {
    const { rows, columns } = this.matrix;
    const inner = width - MARGIN.left - MARGIN.right;
    return Math.min(2 * inner, Math.max(120, (inner * rows.length) / columns.length)) + MARGIN.top + MARGIN.bottom;
  }

  // A cell k lies between k - ½ and k + ½.
  domain() {
    return { x: [-0.5, this.matrix.columns.length - 0.5], y: [-0.5, this.matrix.rows.length - 0.5] };
  }

  rounded(view) {
    const whole = this.domain();
    const ends = (axis) => {
      const low = Math.max(whole[axis][0], Math.round(view[axis][0]) - 0.5);
      return [low, Math.max(low + 1, Math.min(whole[axis][1], Math.round(view[axis][1]) + 0.5))];
    };
    return { x: ends("x"), y: ends("y") };
  }

  axes(area) {
    this.svg.append(svg("rect", { ...area, class: "axis" }));
    const bottom = area.y + area.height;
    for (const k of ticks(...this.view.x, false, true, Math.max(2, area.width / 50)))
      this.svg.append(svg("text", { x: this.x(k), y: bottom + 16, "text-anchor": "middle" }, this.matrix.columns[k]));
    for (const k of ticks(...this.view.y, false, true, Math.max(2, area.height / 24)))
      this.svg.append(svg("text", { x: area.x - 6, y: this.y(k) + 4, "text-anchor": "end" }, this.matrix.rows[k]));
    this.svg.append(svg("text", { x: area.x + area.width / 2, y: bottom + 34, "text-anchor": "middle" }, this.labels.x));
    const place = `translate(12 ${area.y + area.height / 2}) rotate(-90)`;
    this.svg.append(svg("text", { transform: place, "text-anchor": "middle" }, this.labels.y));
  }

  fill() {
    const [first, last] = [Math.ceil(this.view.x[0]), Math.floor(this.view.x[1])];
    const [top, end] = [Math.ceil(this.view.y[0]), Math.floor(this.view.y[1])];
    const values = [];
    for (let i = top; i <= end; i++) for (let j = first; j <= last; j++) values.push(this.matrix.value(i, j));
    const held = values.filter(known);
    const low = Math.min(0, ...held), high = Math.max(low < 0 ? 0 : -Infinity, ...held);
    const canvas = html("canvas", { width: last - first + 1, height: end - top + 1 });
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    values.forEach((value, k) => image.data.set(known(value) ? colour(value, low, high) : [0, 0, 0, 0], 4 * k));
    context.putImageData(image, 0, 0);
    this.body.append(svg("image", {
      href: canvas.toDataURL(), x: this.x(first - 0.5), y: this.y(top - 0.5), width: this.x(last + 0.5) - this.x(first - 0.5),
      height: this.y(end + 0.5) - this.y(top - 0.5), preserveAspectRatio: "none", style: "image-rendering: pixelated",
    }));
    this.legend.replaceChildren(...(held.length ? scale(low, high) : [html("span", { textContent: "No pair of this part is held." })]));
  }

  cell(px, py) {
    const share = this.shares(px, py);
    const clipped = (k, count) => Math.min(count - 1, Math.max(0, k));
    return [
      clipped(Math.round(this.at("y", share.y)), this.matrix.rows.length), clipped(Math.round(this.at("x", share.x)), this.matrix.columns.length),
    ];
  }

  hover(px, py) {
    const [i, j] = this.cell(px, py), { rows, columns, value, error, truncation } = this.matrix;
    this.say(`α ${rows[i]}, β ${columns[j]}: ${withErrors(value(i, j), error(i, j), truncation(i, j))}`, px, py);
  }

  clicked(px, py) { this.choose(...this.cell(px, py)); }
}

// Blue below 0, white at 0, dark red above; where nothing is below 0, viridis.
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const SIGNED = [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];

function colour(value, low, high) {
  const top = Math.max(-low, high) || 1;
  const share = low < 0 ? (value / top + 1) / 2 : value / top;
  const stops = low < 0 ? SIGNED : VIRIDIS;
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const k = Math.min(stops.length - 2, Math.floor(place));
  return [...stops[k].map((channel, c) => channel + (place - k) * (stops[k + 1][c] - channel)), 255];
}

function scale(low, high) {
  const steps = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  return steps.map((value) => {
    const mark = html("i");
    mark.style.background = `rgb(${colour(value, low, high).slice(0, 3).map(Math.round)})`;
    return html("span", {}, [mark, written(value, 3)]);
  });
}
