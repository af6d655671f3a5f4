// The dashboard's tables. Rows are kept and only changed cells written, so that nothing flickers
// and a selection or a scrolled table stays where it is.

import { el } from "/assets/dom.js";

const NEWS_MS = 60_000; // how long a restart or a disappearance stays marked
const PAIRS_SHOWN_MAX = 20;
const OWNERS_REMEMBERED_MAX = 1000;
const whole = (n) => Number(n ?? 0).toLocaleString("en-US", { maximumFractionDigits: 0 });
const known = (n) => n !== null && n !== undefined;
const figure = (n) => (known(n) ? whole(n) : "–");
const tenth = (n) => (!known(n) ? "–" : n.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 }));

export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds ?? 0));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

/** Bring the rows of `body` in line with `items`: made once per key, updated, ordered, removed. */
function sync(body, items, { key, make, update }) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const name = key(item);
    const row = old.get(name) ?? make(item);
    old.delete(name);
    row.dataset.key = name;
    update(row, item);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  for (const row of old.values()) row.remove();
}

function bodyOf(table, columns) {
  if (!table.tBodies.length) {
    table.append(
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(([name, , cls]) => el("th", { scope: "col", role: "columnheader", class: cls }, name)))),
      el("tbody", { role: "rowgroup" }));
  }
  return table.tBodies[0];
}

const makeRow = (columns) => () => el("tr", { role: "row" }, columns.map(([name, , cls], index) => (index === 0
  ? el("th", { scope: "row", role: "rowheader", class: cls })
  : el("td", { role: "cell", class: cls, "data-label": name }))));

function updateRow(columns, row, item) {
  columns.forEach(([, read], index) => {
    const value = read(item);
    if (typeof value === "string") write(row.children[index], value);
  });
}

const OWNER_COLUMNS = [
  ["Owner", () => null, "text"],
  ["Node", (o) => o.node || "–", "text"],
  ["Pid", (o) => String(o.pid ?? "–"), "number"],
  ["Epoch", () => null, "number"],
  ["Uptime", (o) => (known(o.uptime_s) ? span(o.uptime_s) : "–"), "number"],
  ["Pairs", (o) => figure(o.pairs), "number"],
  ["Open reservations", (o) => figure(o.open_reservations), "number"],
  ["Queue", (o) => figure(o.queue), "number"],
  ["Turns/s", (o) => figure(o.turns_per_s), "number"],
  ["Turn size", (o) => tenth(o.turn_size), "number"],
  ["Commit p50, ms", (o) => tenth(o.commit_ms_p50), "number"],
  ["Commit p99, ms", (o) => tenth(o.commit_ms_p99), "number"],
  ["Reservations/s", (o) => figure(o.reservations_per_s), "number"],
];
const FLAGS = { alive: "", starting: "starting", stopped: "stopped, idle", not_alive: "not alive", gone: "gone" };
const ORDER = ["not_alive", "gone", "starting", "alive", "stopped"];

/** Whose pairs an owner decides: those of the pool, or one that it was given for itself. */
function dutyOf({ kind, dedicated_pairs: pairs = [] }) {
  if (kind !== "dedicated") return "Pool";
  return pairs.length ? `Dedicated to ${pairs.map((p) => `${p.sku} · ${p.warehouse}`).join(", ")}` : "Dedicated, without a pair";
}

const remembered = new Map(); // name → {owner, epoch, before, raisedAt, seenAt}

function remember(owner, now) {
  const last = remembered.get(owner.name);
  // Who was stopped and is needed again has begun anew as it should: no news.
  const raised = last && owner.epoch > last.epoch && last.owner.state !== "stopped";
  const next = {
    owner, epoch: owner.epoch, seenAt: now,
    before: raised ? last.epoch : last?.before,
    raisedAt: raised ? now : last?.raisedAt ?? 0,
  };
  remembered.delete(owner.name); // to the end: the oldest are forgotten first
  remembered.set(owner.name, next);
  if (remembered.size > OWNERS_REMEMBERED_MAX) remembered.delete(remembered.keys().next().value);
  return next;
}

/**
 * Owners, those not alive first; one that vanished unasked stays for a minute. Gives the names to
 * alarm about; one that was stopped because it had nothing to do is none of them.
 */
export function showOwners(table, owners, now) {
  const items = owners.map((owner) => ({ ...owner, news: remember(owner, now) }));
  for (const news of remembered.values()) {
    const isGone = news.seenAt !== now && now - news.seenAt < NEWS_MS && news.owner.state !== "stopped";
    if (isGone) items.push({ ...news.owner, news, state: "gone" });
  }
  for (const item of items) item.isNew = item.news.raisedAt > 0 && now - item.news.raisedAt < NEWS_MS;
  items.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state)); // stable: the rest stays put
  sync(bodyOf(table, OWNER_COLUMNS), items, {
    key: (o) => o.name,
    make: (o) => {
      const row = makeRow(OWNER_COLUMNS)();
      row.children[0].append(
        el("span", { class: "dot", "aria-hidden": "true" }), el("span", { class: "owner-name" }, o.name), el("span", { class: "flag" }),
        el("span", { class: "duty muted" }));
      row.children[3].append(el("span", {}), el("span", { class: "raised" }));
      return row;
    },
    update: (row, o) => {
      updateRow(OWNER_COLUMNS, row, o);
      mark(row, "state", o.state);
      mark(row, "raised", String(o.isNew));
      mark(row, "kind", o.kind);
      write(row.querySelector(".flag"), FLAGS[o.state]);
      write(row.querySelector(".duty"), dutyOf(o));
      write(row.children[3].firstChild, String(o.epoch ?? "–"));
      write(row.querySelector(".raised"), o.isNew ? `↑ was ${o.news.before}` : "");
    },
  });
  return {
    alive: items.filter((o) => o.state === "alive").length,
    notAlive: items.filter((o) => ["not_alive", "gone"].includes(o.state)).map((o) => o.name),
    restarted: items.filter((o) => o.isNew).map((o) => o.name),
  };
}

const mostSeen = new Map(); // inventory id → the most units seen, what its bar is drawn against

export function showPairs(list, pairs) {
  const items = pairs.slice(0, PAIRS_SHOWN_MAX);
  for (const id of mostSeen.keys()) if (!items.some((p) => p.inventory_id === id)) mostSeen.delete(id);
  for (const pair of items) {
    mostSeen.set(pair.inventory_id, Math.max(mostSeen.get(pair.inventory_id) ?? 1, pair.available + pair.reserved));
  }
  sync(list, items, {
    key: (p) => p.inventory_id,
    make: (p) => el("li", {},
      el("img", { src: `/media/${encodeURIComponent(p.product_id)}.svg`, alt: "", width: 44, height: 44, loading: "lazy" }),
      el("div", { class: "pair-name" }, el("strong", {}, p.name), el("span", { class: "muted" }, `${p.sku} · ${p.warehouse}`)),
      el("div", { class: "bar", "aria-hidden": "true" }, el("span", { class: "bar-left" }), el("span", { class: "bar-held" })),
      el("p", { class: "number pair-left" }), el("p", { class: "number muted pair-rate" })),
    update: (row, p) => {
      const most = mostSeen.get(p.inventory_id);
      row.querySelector(".bar-left").style.width = `${(100 * p.available) / most}%`;
      row.querySelector(".bar-held").style.width = `${(100 * p.reserved) / most}%`;
      mark(row, "left", p.available === 0 ? "none" : "some");
      write(row.querySelector(".pair-left"), p.available === 0 ? "Sold out" : `${whole(p.available)} left`);
      write(row.querySelector(".pair-rate"), `${whole(p.reserved)} reserved, ${whole(p.requests_per_s)}/s`);
    },
  });
}

const REPLICA_COLUMNS = [
  ["App", (r) => r.app, "text"],
  ["Replica", (r) => r.replica, "text"],
  ["Node", (r) => r.node, "text"],
  ["Pid", (r) => String(r.pid ?? "–"), "number"],
  ["Uptime", (r) => span(r.uptime_s), "number"],
];

export function showReplicas(table, replicas) {
  sync(bodyOf(table, REPLICA_COLUMNS), replicas, {
    key: (r) => `${r.app} ${r.replica}`,
    make: makeRow(REPLICA_COLUMNS),
    update: (row, r) => updateRow(REPLICA_COLUMNS, row, r),
  });
}
