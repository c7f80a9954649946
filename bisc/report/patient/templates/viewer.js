"use strict";
/* The slice viewer on a plain canvas, and the page's own switches. Nothing is fetched: the voxels stand in the page. */
const bisc = (() => {
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const planes = [
    { name: "axial", cut: 0, row: 1, column: 2, flipped: false, sides: "RLAP" },
    { name: "coronal", cut: 1, row: 0, column: 2, flipped: true, sides: "RLSI" },
    { name: "sagittal", cut: 2, row: 0, column: 1, flipped: true, sides: "APSI" },
  ];
  const rgbOf = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const rgb = new Map(facts.segments.map((one) => [one.number, rgbOf(one.colour)]));
  const view = { at: [0, 0, 0], level: 40, width: 400, overlay: true, fill: 0.2, lines: true };
  let voxels = null, labels = null;

  /** gzip in base64, as it stands in an element of the page, to bytes. */
  async function unpack(id) {
    const text = atob(byId(id).textContent.trim());
    const raw = new Uint8Array(text.length);
    for (let i = 0; i < raw.length; i++) raw[i] = text.charCodeAt(i);
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** One plane's voxels, row 0 at the top of the screen. */
  function slice(source, plane) {
    const [, ny, nx] = facts.shape, stride = [ny * nx, nx, 1];
    const rows = facts.shape[plane.row], columns = facts.shape[plane.column];
    const out = new Uint8Array(rows * columns), base = view.at[plane.cut] * stride[plane.cut];
    for (let r = 0, k = 0; r < rows; r++) {
      const from = base + (plane.flipped ? rows - 1 - r : r) * stride[plane.row];
      for (let c = 0; c < columns; c++) out[k++] = source[from + c * stride[plane.column]];
    }
    return { pixels: out, rows, columns };
  }

  function draw(plane) {
    const canvas = plane.canvas, mmX = facts.spacing[plane.column], mmY = facts.spacing[plane.row];
    const grey = slice(voxels, plane), marks = slice(labels, plane);
    const wide = grey.columns * mmX, high = grey.rows * mmY, ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round((canvas.width * high) / wide));
    const context = canvas.getContext("2d"), sx = canvas.width / grey.columns, sy = canvas.height / grey.rows;
    context.imageSmoothingQuality = "high";
    context.drawImage(shaded(plane, grey, marks), 0, 0, canvas.width, canvas.height);
    if (view.overlay) {
      outline(context, marks, (label) => label > 0, facts.kidney, sx, sy, 1.4 * ratio);
      for (const one of facts.segments)
        if (one.organ === "tumor") outline(context, marks, (label) => label === one.number, one.colour, sx, sy, 2 * ratio);
    }
    if (view.lines) crossLines(context, plane, sx, sy);
    furnish(context, plane, canvas.width / wide, ratio, wide);
    tell(plane);
  }

  /** The slice in its window, segments tinted; a canvas of a pixel a voxel. */
  function shaded(plane, grey, marks) {
    const small = (plane.small ||= document.createElement("canvas"));
    small.width = grey.columns;
    small.height = grey.rows;
    const context = small.getContext("2d"), image = context.createImageData(grey.columns, grey.rows);
    const low = view.level - view.width / 2, alpha = view.overlay ? view.fill : 0;
    const table = new Uint8ClampedArray(256).map((_, b) => (255 * (facts.low + facts.scale * b - low)) / view.width);
    for (let i = 0, k = 0; i < grey.pixels.length; i++, k += 4) {
      const light = table[grey.pixels[i]], tint = alpha ? rgb.get(marks.pixels[i]) : undefined;
      for (let c = 0; c < 3; c++) image.data[k + c] = tint ? light * (1 - alpha) + tint[c] * alpha : light;
      image.data[k + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return small;
  }

  /** Half-way between the centres of voxels inside and outside: marching squares. */
  function outline(context, marks, inside, colour, sx, sy, width) {
    const { pixels, rows, columns } = marks;
    const is = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && inside(pixels[r * columns + c]);
    context.beginPath();
    for (let r = -1; r < rows; r++) {
      for (let c = -1; c < columns; c++) {
        const a = is(r, c), b = is(r, c + 1), d = is(r + 1, c), e = is(r + 1, c + 1);
        if (a === b && a === d && a === e) continue;
        const edges = [];
        if (a !== b) edges.push([c + 1, r + 0.5]);
        if (b !== e) edges.push([c + 1.5, r + 1]);
        if (d !== e) edges.push([c + 1, r + 1.5]);
        if (a !== d) edges.push([c + 0.5, r + 1]);
        for (let i = 0; i + 1 < edges.length; i += 2) {
          context.moveTo(edges[i][0] * sx, edges[i][1] * sy);
          context.lineTo(edges[i + 1][0] * sx, edges[i + 1][1] * sy);
        }
      }
    }
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }

  /** Where the other two planes lie. */
  function crossLines(context, plane, sx, sy) {
    const row = plane.flipped ? facts.shape[plane.row] - 1 - view.at[plane.row] : view.at[plane.row];
    const x = (view.at[plane.column] + 0.5) * sx, y = (row + 0.5) * sy;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, context.canvas.height);
    context.moveTo(0, y);
    context.lineTo(context.canvas.width, y);
    context.strokeStyle = "rgba(255, 255, 255, .35)";
    context.lineWidth = 1;
    context.stroke();
  }

  /** The patient's sides, and a bar in mm. */
  function furnish(context, plane, perMm, ratio, wide) {
    const { width, height } = context.canvas, [left, right, top, bottom] = plane.sides, gap = 6 * ratio;
    const put = (text, x, y, align, baseline) => {
      context.textAlign = align;
      context.textBaseline = baseline;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "#000";
    context.fillStyle = "#f2f2f2";
    put(left, gap, height / 2, "left", "middle");
    put(right, width - gap, height / 2, "right", "middle");
    put(top, width / 2, gap, "center", "top");
    put(bottom, width / 2, height - gap, "center", "bottom");
    const mm = wide > 84 ? 50 : 10, x = width - gap - mm * perMm, y = height - 2 * gap;
    context.fillStyle = "#000";
    context.fillRect(x - ratio, y - ratio, mm * perMm + 2 * ratio, 4 * ratio);
    context.fillStyle = "#f2f2f2";
    context.fillRect(x, y, mm * perMm, 2 * ratio);
    put(`${mm} mm`, x + (mm * perMm) / 2, y - 3 * ratio, "center", "bottom");
  }

  /** The slice's number in the whole scan, for eyes and screen readers. */
  function tell(plane) {
    const cut = plane.cut, number = facts.start[cut] + view.at[cut] * facts.step[cut] + 1;
    const words = `${plane.name[0].toUpperCase()}${plane.name.slice(1)} slice ${number} of ${facts.full[cut]}`;
    if (plane.output.textContent !== words) plane.output.textContent = words;
    plane.slider.value = view.at[cut];
    plane.slider.setAttribute("aria-valuetext", words);
    plane.canvas.setAttribute("aria-label", words);
  }

  const drawAll = () => planes.forEach(draw);

  function move(plane, to) {
    const before = view.at[plane.cut], last = facts.shape[plane.cut] - 1;
    view.at[plane.cut] = Math.min(last, Math.max(0, to));
    if (view.at[plane.cut] === before) return false;
    view.lines ? drawAll() : draw(plane);
    return true;
  }

  function goTo(full) {
    view.at = full.map((n, axis) => {
      const own = Math.round((n - facts.start[axis]) / facts.step[axis]);
      return Math.min(facts.shape[axis] - 1, Math.max(0, own));
    });
    drawAll();
  }

  function listen(plane) {
    let turned = 0;
    plane.slider.addEventListener("input", () => move(plane, Number(plane.slider.value)));
    plane.canvas.addEventListener("wheel", (event) => {
      turned += event.deltaMode ? event.deltaY * 34 : event.deltaY;
      const steps = Math.trunc(turned / 100);
      turned -= steps * 100;
      if (!steps || move(plane, view.at[plane.cut] - steps)) event.preventDefault(); // at the ends the page goes on
    }, { passive: false });
    plane.canvas.addEventListener("click", (event) => {
      const box = plane.canvas.getBoundingClientRect();
      const along = (size, part) => Math.min(size - 1, Math.max(0, Math.floor(size * part)));
      const row = along(facts.shape[plane.row], (event.clientY - box.top) / box.height);
      view.at[plane.column] = along(facts.shape[plane.column], (event.clientX - box.left) / box.width);
      view.at[plane.row] = plane.flipped ? facts.shape[plane.row] - 1 - row : row;
      plane.slider.focus({ preventScroll: true }); // the arrow keys now turn this plane's slices
      drawAll();
    });
  }

  async function begin() {
    const panel = byId("slices");
    panel.hidden = false;
    try {
      [voxels, labels] = await Promise.all([unpack("voxels"), unpack("labels")]);
    } catch (fault) {
      byId("slices-view").hidden = true;
      byId("slices-fault").hidden = false;
      return;
    }
    for (const plane of planes) {
      for (const part of ["canvas", "slider", "output"]) plane[part] = byId(`${plane.name}-${part}`);
      plane.slider.max = facts.shape[plane.cut] - 1;
      plane.canvas.parentElement.style.flexGrow = facts.shape[plane.column] * facts.spacing[plane.column];
      listen(plane);
    }
    byId("window").addEventListener("change", (event) => {
      [view.level, view.width] = event.target.value.split("/").map(Number);
      drawAll();
    });
    for (const key of ["overlay", "lines"])
      byId(key).addEventListener("change", (event) => { view[key] = event.target.checked; drawAll(); });
    byId("fill").addEventListener("input", (event) => { view.fill = event.target.value / 100; drawAll(); });
    for (const button of document.querySelectorAll("[data-go]"))
      button.addEventListener("click", () => goTo(JSON.parse(button.dataset.go)));
    const first = facts.segments.find((one) => one.organ === "tumor") || facts.segments[0];
    goTo(first ? first.at : facts.full.map((n) => n >> 1));
    new ResizeObserver(() => requestAnimationFrame(drawAll)).observe(panel);
    panel.dataset.ready = "yes";
  }

  /** Light and dark by hand: the rules of the other scheme are let in or kept out. */
  function themes() {
    const button = byId("theme"), wish = window.matchMedia("(prefers-color-scheme: dark)");
    const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
      .filter((rule) => rule.media && rule.media.mediaText.includes("prefers-color-scheme"));
    let dark = wish.matches, chosen = false;
    const show = () => {
      button.setAttribute("aria-pressed", String(dark));
      if (!chosen) return;
      document.documentElement.style.colorScheme = dark ? "dark" : "light";
      for (const rule of rules) rule.media.mediaText = dark ? "screen" : "not all";
    };
    button.hidden = false;
    button.addEventListener("click", () => { dark = !dark; chosen = true; show(); });
    wish.addEventListener("change", () => { if (!chosen) dark = wish.matches; show(); });
    show();
  }

  themes();
  begin();
  return { facts, unpack, rgbOf, byId };
})();
