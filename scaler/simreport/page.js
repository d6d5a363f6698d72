"use strict";
// The cursor of each trace's charts: point at a chart, or focus the charts and use the arrow keys.
for (const section of document.querySelectorAll("section.trace")) {
  const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
  const charts = section.querySelector(".charts");
  const out = section.querySelector(".readout");
  const hint = out.querySelector("p");
  const table = out.querySelector("table");
  const svgs = [...section.querySelectorAll("svg.chart")];
  let bucket = 0;

  const clock = (t) => {
    const whole = Math.round(t), s = whole % 60, m = Math.floor(whole / 60) % 60, h = Math.floor(whole / 3600);
    return h + ":" + String(m).padStart(2, "0") + (s ? ":" + String(s).padStart(2, "0") : "");
  };
  const show = (k) => {
    bucket = Math.max(0, Math.min(data.count - 1, k));
    const t = bucket * data.width;
    const x = data.left + (data.plot * t) / data.duration;
    for (const svg of svgs) {
      const line = svg.querySelector(".cursor");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    section.classList.add("reading");
    hint.hidden = true;
    table.hidden = false;
    table.caption.textContent = clock(t) + " after the start";
    [...table.tBodies[0].rows].forEach((row, n) => {
      data.columns.forEach((name, c) => {
        const values = data.runs[n][name];
        const value = values.length ? values[Math.min(bucket, values.length - 1)] : "";
        row.cells[c + 1].textContent = value === null ? "\u2013" : typeof value === "number" ? value.toLocaleString("en") : value;
      });
    });
  };
  for (const svg of svgs) {
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * 1000;
      show(Math.round((((x - data.left) / data.plot) * data.duration) / data.width));
    });
  }
  charts.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 12 : 1;
    const moves = { ArrowLeft: -far, ArrowRight: far, Home: -data.count, End: data.count };
    if (event.key in moves) {
      show(bucket + moves[event.key]);
      event.preventDefault();
    }
  });
  for (const row of section.querySelectorAll("tr[data-t]")) {
    row.addEventListener("pointerenter", () => show(Math.floor(Number(row.dataset.t) / data.width)));
  }
}
