// The operators' queue: asks for the token once, then shows what waits and takes decisions.

import { ask, operator, Refused } from "/assets/desk.js";
import { count, el, fill, moment, money, say } from "/assets/dom.js";
import { card } from "/assets/review-card.js";
import { failureReason, statusWord } from "/assets/words.js";

const INTERVAL_MS = 3000;
const BACKOFF_MAX_MS = 15_000;
const PAGE = 20;
const SHOWN_MAX = 100; // as many as one page of the API may have
const JOURNAL = 10;
const DONE_KEPT_MS = 6000;
const by = (id) => document.getElementById(id);

const cards = new Map(); // order_id → card
let limit = PAGE;
let failures = 0;
let timer = null;
let asking = null;

function setState(state, text) {
  by("state").dataset.state = state;
  if (by("state-text").textContent !== text) by("state-text").textContent = text;
  by("desk").dataset.stale = String(state === "lost");
}

function showDoor(problem) {
  stop();
  operator.set(null);
  by("desk").hidden = true;
  by("door").hidden = false;
  cards.clear();
  fill(by("queue"));
  fill(by("journal"));
  say(by("door-problem"), ...(problem ? [problem] : []));
  by("token").value = "";
  by("token").focus();
  setState("paused", "Signed out");
  document.title = "Reviews · Doorbuster";
}

function onRefused(refused) {
  if (refused instanceof Refused && refused.isAboutToken) showDoor(refused.message);
}

function onDecided() {
  clearTimeout(timer);
  timer = setTimeout(refresh, 0);
}

function showQueue(listed) {
  const now = Date.now();
  const listedIds = new Set(listed.reviews.map((review) => review.order_id));
  for (const [id, one] of cards) {
    if (listedIds.has(id)) continue;
    if (!one.isDone && !one.isInUse) remove(id);
    else {
      one.moveOn();
      one.doneAt ??= now;
      if (now - one.doneAt > DONE_KEPT_MS && !one.node.contains(document.activeElement)) remove(id);
    }
  }
  const ofBuyer = new Map();
  for (const { customer } of listed.reviews) ofBuyer.set(customer, (ofBuyer.get(customer) ?? 0) + 1);
  for (const review of listed.reviews) {
    if (!cards.has(review.order_id)) {
      const made = card(review, { onDecided, onRefused });
      cards.set(review.order_id, made);
      by("queue").append(made.node);
    }
    cards.get(review.order_id).update(review.seconds_left, { others: ofBuyer.get(review.customer) - 1, isPart: Boolean(listed.next_cursor) });
  }
  by("queue-none").hidden = cards.size > 0;
  by("more").hidden = !listed.next_cursor || limit >= SHOWN_MAX;
  const waiting = count(listed.waiting, "order waits", "orders wait");
  if (by("title").textContent !== waiting) by("title").textContent = waiting;
  document.title = `${listed.waiting ? `(${listed.waiting}) ` : ""}Reviews · Doorbuster`;
}

function remove(id) {
  cards.get(id).node.remove();
  cards.delete(id);
}

function showJournal({ reviews }) {
  by("journal-none").hidden = reviews.length > 0;
  fill(by("journal"), reviews.map(({ decision: made, ...review }) => el("li", {},
    el("p", { class: "verdict", "data-kind": made.decision }, made.decision === "approve" ? "Approved" : "Declined"),
    el("p", {}, `${money(review.total, review.currency)} by ${made.by}, ${moment(made.at)}`),
    el("p", { class: "muted" }, statusWord(review.status)),
    made.decision === "approve" && review.failure && el("p", { class: "note" }, failureReason(review.failure)),
    made.note && el("p", { class: "note" }, made.note))));
}

async function refresh() {
  timer = null;
  if (asking || !operator.isKnown) return;
  asking = new AbortController();
  const { signal } = asking;
  try {
    const [queue, journal] = await Promise.all([
      ask("GET", `?limit=${limit}`, { signal }), ask("GET", `?decided=true&limit=${JOURNAL}`, { signal }),
    ]);
    if (signal.aborted) return;
    failures = 0;
    say(by("problem"));
    showQueue(queue);
    showJournal(journal);
    by("door").hidden = true;
    by("desk").hidden = false;
    setState("live", "Live");
  } catch (refused) {
    if (signal.aborted) return; // hidden or signed out meanwhile
    asking = null;
    failures += 1;
    if (refused instanceof Refused && refused.isAboutToken) {
      showDoor(refused.message);
      return;
    }
    setState("lost", "Lost connection, retrying");
    say(by(by("desk").hidden ? "door-problem" : "problem"), refused.message);
  }
  asking = null;
  if (!document.hidden) timer = setTimeout(refresh, Math.min(INTERVAL_MS * Math.max(1, failures), BACKOFF_MAX_MS));
}

function stop() {
  clearTimeout(timer);
  timer = null;
  asking?.abort();
  asking = null;
}

by("door").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = by("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    say(by("door-problem"), "Paste the whole token; it has no spaces.");
    by("token").focus();
    return;
  }
  operator.set(given);
  by("who").textContent = operator.name;
  await refresh();
  if (!by("desk").hidden) by("title").focus();
});
by("leave").addEventListener("click", () => showDoor());
by("more").addEventListener("click", () => {
  limit = Math.min(limit + PAGE, SHOWN_MAX);
  onDecided();
});
document.addEventListener("visibilitychange", () => {
  if (!operator.isKnown) return;
  if (document.hidden) {
    stop();
    setState("paused", "Paused while hidden");
  } else if (timer === null) refresh();
});

if (operator.isKnown) {
  by("who").textContent = operator.name;
  refresh();
} else showDoor();
