"use strict";
(() => {
  const readout = document.createElement("div");
  readout.id = "readout";
  readout.setAttribute("role", "status");
  document.body.append(readout);

  const digits = (value) =>
    Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en")
      : value.toFixed(Math.abs(value) < 10 ? 4 : 2);

  const row = (label, colour, value, kind) => {
    const line = document.createElement("div");
    const swatch = document.createElement("i");
    const name = document.createElement("span");
    const figure = document.createElement("span");
    swatch.style.background = colour;
    name.textContent = label;
    figure.textContent = digits(value);
    if (kind) line.className = kind;
    line.append(swatch, name, figure);
    return line;
  };

  const scale = ([low, high, start, stop, log], value) => {
    const f = log ? Math.log : (v) => v;
    const share = high > low ? (f(value) - f(low)) / (f(high) - f(low)) : 0.5;
    return start + share * (stop - start);
  };

  for (const svg of document.querySelectorAll("svg.chart")) {
    const chart = JSON.parse(svg.dataset.readout);
    const epochs = [...new Set(chart.lines.flatMap((l) => l.points.map((p) => p[0])))].sort((a, b) => a - b);
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "g");
    svg.append(cursor);
    let at = epochs.length - 1;

    const show = (epoch) => {
      const x = scale(chart.x, epoch);
      const seen = chart.lines
        .map((l) => ({ ...l, value: (l.points.find((p) => p[0] === epoch) || [])[1] }))
        .filter((l) => l.value !== undefined)
        .sort((a, b) => b.value - a.value);
      const dots = seen.map((l) =>
        `<circle cx="${x}" cy="${scale(chart.y, l.value)}" r="3.5" fill="${l.colour}"/>`).join("");
      cursor.innerHTML = `<line class="cursor" x1="${x}" x2="${x}" y1="${chart.top}" y2="${chart.y[2]}"/>${dots}`;
      const head = document.createElement("b");
      head.textContent = `${chart.xLabel} ${chart.xNames[epoch] ?? epoch}`;
      readout.replaceChildren(head, ...seen.map((l) => row(l.label, l.colour, l.value)),
        ...chart.levels.map((l) => row(l.label, l.colour, l.value, "level")));
      readout.style.display = "block";
      const box = svg.getBoundingClientRect();
      const left = box.left + (x / svg.viewBox.baseVal.width) * box.width;
      const width = readout.offsetWidth;
      const room = left + 16 + width < document.documentElement.clientWidth;
      readout.style.left = `${scrollX + Math.max(4, room ? left + 16 : left - 16 - width)}px`;
      readout.style.top = `${scrollY + box.top + 10}px`;
    };
    const hide = () => { cursor.innerHTML = ""; readout.style.display = "none"; };

    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const nearest = (a, b) => (Math.abs(scale(chart.x, b) - x) < Math.abs(scale(chart.x, a) - x) ? b : a);
      at = epochs.indexOf(epochs.reduce(nearest));
      show(epochs[at]);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      at = Math.min(epochs.length - 1, Math.max(0, at + step));
      show(epochs[at]);
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.querySelectorAll("thead tr:last-child th")];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") === "descending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const body = table.tBodies[0];
        const key = (line) => {
          const value = line.cells[column].dataset.value;
          return value === "" ? null : Number(value);
        };
        [...body.rows]
          .sort((a, b) => {
            const [x, y] = [key(a), key(b)];
            if (x === null || y === null) return (x === null) - (y === null);
            return ascending ? x - y : y - x;
          })
          .forEach((line) => body.append(line));
      });
    });
  }

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const block of document.querySelectorAll("details:not([open])")) {
      block.open = true;
      opened.push(block);
    }
  });
  addEventListener("afterprint", () => { while (opened.length) opened.pop().open = false; });
})();
