// Charts over time, drawn by uPlot in the colours of the theme.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { dark, utc } from "../lib/store.js";
import { stamp } from "../lib/time.js";
import { Icon } from "./icons.jsx";

// The library is a file of its own, which pages without a chart do not load.
const library = signal(null);
let asked = null;
const load = () => (asked ??= import("uplot").then((m) => (library.value = m.default), () => (asked = null)));

const probe = document.createElement("i");
probe.hidden = true;
// color is what a custom property is now, in the theme that is shown.
function color(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
const thin = (c) => c.replace("rgb(", "rgba(").replace(")", ", 0.14)");

// wholeSteps keep an axis of counts from showing parts of one.
const wholeSteps = Array.from({ length: 13 }, (_, n) => [1, 2, 5].map((m) => m * 10 ** n)).flat();

// Chart draws series over times (seconds of Unix time). series are {label, color, values, fill, dash}; format writes a value; whole: they are counts.
export function Chart({ times, series, height = 180, format = String, label, empty, whole }) {
  const box = useRef();
  const plot = useRef(null);
  const fmt = useRef(format);
  fmt.current = format;
  const uPlot = library.value;
  const theme = dark.value;
  const zone = utc.value;
  const data = [times, ...series.map((s) => s.values)];
  const none = !times.length || series.every((s) => s.values.every((v) => !v));
  useEffect(() => {
    if (!uPlot) { load(); return; }
    const text = color("--faint"), grid = color("--line");
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const u = new uPlot({
      width: box.current.clientWidth || 300, height, legend: { show: false }, cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } }, padding: [8, 18, 0, 0],
      tzDate: (s) => (zone ? uPlot.tzDate(new Date(s * 1000), "Etc/UTC") : new Date(s * 1000)),
      scales: { x: { time: true }, y: { range: (_, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, values: (_, at) => at.map((s) => stamp(new Date(s * 1000).toISOString(), { short: true }).slice(0, 5)), space: 60, size: 26 },
        { ...axis, size: 44, values: (_, v) => v.map((x) => fmt.current(x)), space: 30, ...(whole && { incrs: wholeSteps }) },
      ],
      series: [{}, ...series.map((s) => {
        const c = color(s.color);
        return { label: s.label, stroke: c, width: 1.75, dash: s.dash, fill: s.fill ? thin(c) : undefined, points: { show: false }, spanGaps: true };
      })],
      hooks: { setCursor: [(p) => tell(p, box.current, fmt.current)] },
    }, data, box.current);
    plot.current = u;
    const size = new ResizeObserver(() => { const w = box.current?.clientWidth; if (w && w !== u.width) u.setSize({ width: w, height }); });
    size.observe(box.current);
    return () => { size.disconnect(); u.destroy(); plot.current = null; };
  }, [uPlot, theme, zone, height, series.map((s) => s.label).join()]);
  useEffect(() => plot.current?.setData(data), [times, ...series.map((s) => s.values)]);
  const last = (s) => s.values.findLast((v) => v != null);
  return (
    <figure class="chart">
      <figcaption>
        {series.map((s) => <span key={s.label} class="key"><svg width="14" height="8" aria-hidden="true"><line x1="0" y1="4" x2="14" y2="4" class="key-line" style={{ stroke: `var(${s.color})` }} stroke-dasharray={s.dash?.join(" ")} /></svg>{s.label}</span>)}
        <output class="chart-at" />
      </figcaption>
      <div ref={box} class="chart-box" role="img" aria-label={label + ": " + series.map((s) => s.label + " " + format(last(s) ?? 0)).join(", ")} style={{ height: height + "px" }} />
      {none && <div class="chart-none"><Icon name="overview" /> {empty}</div>}
    </figure>
  );
}

// tell writes what lies below the cursor into the caption.
function tell(p, box, format) {
  const out = box?.parentElement?.querySelector(".chart-at");
  if (!out) return;
  const i = p.cursor.idx;
  out.textContent = i == null ? "" : stamp(new Date(p.data[0][i] * 1000).toISOString(), { short: true }).slice(0, 5) + "  " +
    p.series.slice(1).map((s, k) => s.label + " " + (p.data[k + 1][i] == null ? "–" : format(p.data[k + 1][i]))).join(" · ");
}
