"use strict";
(() => {
  const readout = document.getElementById("readout");
  for (const svg of document.querySelectorAll("svg.parallel")) {
    const lines = [...svg.querySelectorAll("[data-line]")].map((line) => {
      line.querySelector("title")?.remove();
      return { line, ...JSON.parse(line.dataset.line) };
    });
    const brushes = new Map();
    const place = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY);
      return point.matrixTransform(svg.getScreenCTM().inverse());
    };
    const filter = () => {
      for (const { line, y } of lines) {
        const kept = [...brushes].every(([axis, [a, b]]) => y[axis] >= a && y[axis] <= b);
        line.classList.toggle("faded", !kept);
      }
    };
    for (const axis of svg.querySelectorAll(".axis")) {
      const at = Number(axis.dataset.axis);
      const area = axis.querySelector("rect");
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: +area.getAttribute("x") + 8, width: 12, height: 0, class: "brush" }))
        mark.setAttribute(name, value);
      axis.append(mark);
      let from = null;
      area.addEventListener("pointerdown", (event) => {
        from = place(event).y;
        area.setPointerCapture(event.pointerId);
      });
      area.addEventListener("pointermove", (event) => {
        if (from === null) return;
        const to = place(event).y;
        const range = [Math.min(from, to), Math.max(from, to)];
        if (range[1] - range[0] < 3) return;
        brushes.set(at, range);
        mark.setAttribute("y", range[0]);
        mark.setAttribute("height", range[1] - range[0]);
        filter();
      });
      area.addEventListener("pointerup", (event) => {
        if (Math.abs(place(event).y - from) < 3) {
          brushes.delete(at);
          mark.setAttribute("height", 0);
          filter();
        }
        from = null;
      });
    }
    for (const { line, label, note } of lines) {
      line.addEventListener("pointerenter", (event) => {
        if (line.classList.contains("faded")) return;
        line.classList.add("chosen");
        const head = document.createElement("b");
        head.textContent = label;
        const rows = note.split(" ").map((text) => {
          const row = document.createElement("div");
          const [name, value] = text.split("=");
          for (const part of [name, value]) {
            const cell = document.createElement("span");
            cell.textContent = part;
            row.append(cell);
          }
          return row;
        });
        readout.replaceChildren(head, ...rows);
        readout.style.display = "block";
        const room = event.pageX + 24 + readout.offsetWidth < document.documentElement.clientWidth;
        readout.style.left = `${room ? event.pageX + 18 : event.pageX - 18 - readout.offsetWidth}px`;
        readout.style.top = `${event.pageY + 14}px`;
      });
      line.addEventListener("pointerleave", () => {
        line.classList.remove("chosen");
        readout.style.display = "none";
      });
    }
  }
})();
