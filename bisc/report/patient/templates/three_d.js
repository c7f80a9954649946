"use strict";
/* The 3-D view: NiiVue, unpacked from the page when its place comes into sight; without WebGL the pictures stay alone. */
(() => {
  const { facts, unpack, rgbOf, byId } = bisc;
  const canvas = byId("three-d-canvas"), status = byId("three-d-status");
  const ways = { front: [180, 0], back: [0, 0], right: [90, 0], left: [270, 0], above: [180, 89], below: [180, -89] };
  let viewer = null, place = ways.front;

  const say = (words) => { status.textContent = words; };

  /** A surface as MZ3, a form that NiiVue reads: corners of triangles, then points in RAS mm. */
  async function surface(number) {
    const [points, corners] = await Promise.all([unpack(`points-${number}`), unpack(`triangles-${number}`)]);
    const file = new Uint8Array(16 + corners.length + points.length), head = new DataView(file.buffer);
    head.setUint16(0, 23117, true);
    head.setUint16(2, 3, true);
    head.setUint32(4, corners.length / 12, true);
    head.setUint32(8, points.length / 12, true);
    file.set(corners, 16);
    const lps = new Float32Array(points.buffer);
    for (let i = 0; i < lps.length; i++) if (i % 3 < 2) lps[i] = -lps[i];
    file.set(points, 16 + corners.length);
    return file.buffer;
  }

  async function begin() {
    try {
      if (!document.createElement("canvas").getContext("webgl2")) throw new Error("no WebGL 2");
      say("The 3-D view is being made ready …");
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(await unpack("library"));
      document.head.append(script);
      canvas.parentElement.hidden = false;
      viewer = new niivue.Niivue({
        backColor: [0.09, 0.09, 0.09, 1], isOrientCube: true, show3Dcrosshair: false, dragAndDropEnabled: false,
        scrollRequiresFocus: true, loadingText: "", logLevel: "error", isColorbar: false, showLegend: false,
        sliceType: niivue.SLICE_TYPE.RENDER,
      });
      await viewer.attachToCanvas(canvas);
      const tumorsFirst = [...facts.segments].sort((a, b) => b.organ.localeCompare(a.organ));
      for (const one of tumorsFirst) {
        const buffer = await surface(one.number), opacity = one.organ === "tumor" ? 1 : byId("three-d-kidneys").value / 100;
        const rgba255 = [...rgbOf(one.colour), 255];
        const name = `${one.number}.mz3`; // by which it is known to be one; with a buffer nothing is fetched
        await viewer.addMeshFromUrl({ url: name, name, buffer, rgba255, opacity });
      }
      viewer.setScale(1.2);
      turn(ways.front);
      byId("three-d-controls").hidden = false;
      say("Drag to turn it, or use the buttons; with the view in focus, the arrow keys.");
      canvas.dataset.ready = "yes";
    } catch (fault) {
      canvas.parentElement.hidden = true;
      say(`The 3-D view could not be shown here (${fault.message}); the pictures show the same.`);
    }
  }

  function turn(to) {
    place = to;
    viewer.setRenderAzimuthElevation(...to);
  }

  for (const button of document.querySelectorAll("[data-way]"))
    button.addEventListener("click", () => turn(ways[button.dataset.way]));
  byId("three-d-kidneys").addEventListener("input", (event) => {
    for (const mesh of viewer.meshes) {
      const one = facts.segments.find((segment) => `${segment.number}.mz3` === mesh.name);
      if (one && one.organ === "kidney") viewer.setMeshProperty(mesh.id, "opacity", event.target.value / 100);
    }
  });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[event.key];
    if (!by || !viewer) return;
    event.preventDefault();
    turn([(viewer.scene.renderAzimuth + by[0] + 360) % 360, Math.max(-89, Math.min(89, viewer.scene.renderElevation + by[1]))]);
  });
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  }, { rootMargin: "200px" }).observe(byId("three-d"));
})();
