// The operator's page: asks for the overview each second and shows what changed.

import { drawCharts, record, recordGap } from "/assets/charts.js";
import { count, el } from "/assets/dom.js";
import { showOwners, showPairs, showReplicas } from "/assets/tables.js";

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 4000;
const BACKOFF_MAX_MS = 5000;
const by = (id) => document.getElementById(id);
const whole = (n) => Number(n ?? 0).toLocaleString("en-US", { maximumFractionDigits: 0 });
const NONE = "–";
const ms = (n) => (n === null || n === undefined ? NONE : `${n < 10 ? n.toFixed(1) : whole(n)}`);

let failures = 0;
let lastAnswerAt = 0;
let timer = null;
let asking = null;

const TILES = [
  // name, unit, what it shows, when it deserves attention
  ["Orders", "per s", (o) => whole(o.checkout.confirmed_per_s)],
  ["Checkout p50", "ms", (o) => ms(o.checkout.p50_ms)],
  ["Checkout p99", "ms", (o) => ms(o.checkout.p99_ms)],
  ["In flight", "", (o) => whole(o.checkout.in_flight)],
  ["Confirmed since start", "", (o) => whole(o.checkout.confirmed_total)],
  ["Rejected since start", "", (o) => whole(o.checkout.rejected_total)],
];
const PENDING = [
  ["Events in the outbox", (o) => o.outbox.pending],
  ["Orders in recovery", (o) => o.recovery.pending_orders],
  ["Orders recovery finished", (o) => o.recovery.finished_total],
  ["Orders recovery unwound", (o) => o.recovery.unwound_total],
];

function showFigures(list, definitions, overview) {
  if (!list.children.length) {
    list.append(...definitions.map(([name, unit]) => el("div", {}, el("dt", {}, name), el("dd", { class: "number" }, el("span", {}, NONE),
      typeof unit === "string" && unit && el("small", { hidden: true }, unit)))));
  }
  if (!overview) return;
  definitions.forEach((definition, index) => {
    const value = String(definition.at(-1)(overview));
    const place = list.children[index].querySelector("dd span");
    if (place.textContent === value) return;
    place.textContent = value;
    if (place.nextElementSibling) place.nextElementSibling.hidden = value === NONE; // there is nothing to be measured in it
  });
}

function show(overview) {
  showFigures(by("tiles"), TILES, overview);
  showFigures(by("pending"), PENDING.map(([name, read]) => [name, (o) => whole(read(o))]), overview);
  by("pending").dataset.waits = overview.recovery.pending_orders > 0;
  const { alive, notAlive, restarted } = showOwners(by("owners"), overview.owners, Date.now());
  by("owners-sum").textContent = sumOf(overview.owners.filter((o) => o.state !== "stopped"));
  by("owners-none").hidden = overview.owners.length > 0;
  showAlarm(alive, notAlive, restarted);
  showPairs(by("pairs"), overview.hot_pairs);
  by("pairs-none").hidden = overview.hot_pairs.length > 0;
  showReplicas(by("replicas"), overview.replicas);
  by("replicas-sum").textContent = count(overview.replicas.length, "replica");
  by("clock").textContent = new Date(overview.time).toLocaleTimeString("en-GB");
  by("clock").dateTime = overview.time;
}

function sumOf(owners) {
  const dedicated = owners.filter((o) => o.kind === "dedicated").length;
  const pairs = owners.reduce((sum, o) => sum + (o.pairs ?? 0), 0);
  return [count(owners.length, "owner"), dedicated && `${dedicated} of them dedicated`, count(pairs, "pair")].filter(Boolean).join(", ");
}

/** One line that is always there, so that nothing moves when it turns bad. */
function showAlarm(owners, notAlive, restarted) {
  const parts = [
    notAlive.length && `${count(notAlive.length, "owner is", "owners are")} not alive: ${notAlive.join(", ")}.`,
    restarted.length && `New epoch within the last minute: ${restarted.join(", ")}.`,
    !notAlive.length && !restarted.length && (owners ? `${count(owners, "owner", "owners")}, all alive.` : "No stock owner reports."),
  ].filter(Boolean);
  const alarm = by("alarm");
  alarm.dataset.level = notAlive.length || !owners ? "bad" : restarted.length ? "warn" : "good";
  const text = parts.join(" ");
  if (alarm.textContent !== text) alarm.textContent = text;
}

function setState(state, text) {
  by("state").dataset.state = state;
  if (by("state-text").textContent !== text) by("state-text").textContent = text;
  by("main").dataset.stale = String(state !== "live");
}

async function ask() {
  timer = null;
  const startedAt = Date.now();
  asking = new AbortController();
  const { signal } = asking;
  let overview = null;
  try {
    const response = await fetch("/api/v1/ops/overview", {
      headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    if (!response.ok) throw new Error(`answered ${response.status}`);
    overview = await response.json();
  } catch {
    if (signal.aborted) return; // hidden meanwhile: asking starts again when shown
  }
  asking = null;
  if (overview) {
    failures = 0;
    lastAnswerAt = Date.now();
    show(overview);
    record(overview);
    setState("live", "Live");
  } else {
    failures += 1;
    recordGap();
    const since = lastAnswerAt ? `, last figures ${Math.round((Date.now() - lastAnswerAt) / 1000)} s old` : "";
    setState("lost", `Lost connection, retrying${since}`);
  }
  drawCharts();
  // The next question waits for this answer, so a slow shop is never asked twice at once.
  const pace = Math.min(INTERVAL_MS * Math.max(1, failures), BACKOFF_MAX_MS);
  if (!document.hidden) timer = setTimeout(ask, Math.max(50, pace - (Date.now() - startedAt)));
}

function stop() {
  clearTimeout(timer);
  timer = null;
  asking?.abort();
  asking = null;
  recordGap();
  setState("paused", "Paused while hidden");
}

function resume() {
  if (timer === null && asking === null) ask();
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : resume()));
showFigures(by("tiles"), TILES, null);
showFigures(by("pending"), PENDING.map(([name, read]) => [name, read]), null);
if (!document.hidden) resume();
