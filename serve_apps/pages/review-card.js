// One order in review: why it waits, what is bought, and the decision about it.

import { ask } from "/assets/desk.js";
import { count, el, fill, moment, money, say } from "/assets/dom.js";

const SOON_S = 3600;
const NOTE_MAX = 500;
const SHORT = 6; // the end of an id, to tell one buyer from another
const countries = new Intl.DisplayNames("en", { type: "region" });

export const flagName = (name) => (name === "model" ? "Model" : name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase()));

function country(code) {
  try {
    return countries.of(code);
  } catch {
    return code;
  }
}

export function timeLeft(seconds) {
  if (seconds <= 0) return "time is over";
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min left`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

const ADDRESS = ["name", "street", "city", "state", "zip", "country"];

function address(title, shown, other) {
  const lines = ADDRESS.map((field) => [field, shown[field]]).filter(([, text]) => text);
  return el("div", {}, el("h4", {}, title), lines.map(([field, text]) =>
    el("p", { "data-differs": other && (other[field] ?? "") !== text ? "true" : null }, field === "country" ? country(text) : String(text))));
}

function people({ personal }) {
  if (!personal) return [el("p", { class: "muted" }, "The addresses cannot be opened here: their key is missing.")];
  const { shipping_address: ship, billing_address: bill, contact } = personal;
  return [
    address("Ships to", ship, bill),
    bill ? address("Billed to", bill, ship) : el("div", {}, el("h4", {}, "Billed to"), el("p", {}, "the same address")),
    contact && el("div", {}, el("h4", {}, "Contact"), Object.values(contact).map((text) => el("p", {}, String(text)))),
  ];
}

function addresses(review, onRefused) {
  const place = el("div", { class: "people" }, el("p", { class: "muted" }, "Opening…"));
  const details = el("details", {}, el("summary", {}, "Addresses and contact"), place);
  let asked = false;
  details.addEventListener("toggle", async () => {
    if (!details.open || asked) return;
    asked = true;
    try {
      fill(place, people(await ask("GET", `/${encodeURIComponent(review.order_id)}`)));
    } catch (refused) {
      asked = false;
      fill(place, el("p", { class: "problem" }, refused.message));
      onRefused(refused);
    }
  });
  return details;
}

const why = (review) => el("ol", { class: "why", "aria-label": "Why it waits" },
  (review.reasons.length ? review.reasons : review.flags.map((name) => ({ name }))).map((reason) => el("li", {},
    el("span", { class: "points" }, reason.points === undefined ? "" : `+${reason.points.toFixed(1)}`),
    el("div", {}, el("strong", {}, flagName(reason.name)), reason.sentence && el("span", {}, reason.sentence)))));

function goods(review) {
  const units = review.items.reduce((sum, item) => sum + item.quantity, 0);
  return el("div", {}, el("h3", {}, count(units, "item")), el("ul", { class: "goods" }, review.items.map((item) =>
    el("li", {}, el("span", {}, `${item.quantity} × ${item.name}`, " ", item.sku && el("span", { class: "sku" }, item.sku)),
      el("span", {}, money(item.price * item.quantity, review.currency))))));
}

/** What became of a decision, in a sentence, and how it is shown. */
function outcome(answer) {
  const made = answer.decision;
  if (answer.counted) {
    return made.decision === "approve"
      ? ["approve", "Approved. The buyer is being charged."]
      : ["decline", "Declined. Nothing was charged; the stock is free again."];
  }
  if (made) return ["late", `${made.by} was quicker: ${made.decision === "approve" ? "approved" : "declined"}. Nothing was changed.`];
  return ["late", "Its time is over: nothing was changed, and the order is given up."];
}

/**
 * A card for one order. `onDecided` is told when a decision was answered, `onRefused` of refusals.
 * `update` brings its time up to date; `isBusy` while someone works on it.
 */
export function card(review, { onDecided, onRefused }) {
  const left = el("p", { class: "left" });
  const buyer = el("p", { class: "about buyer" });
  const note = el("textarea", { rows: 1, maxlength: NOTE_MAX, id: `note-${review.order_id}` });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const named = (word) => `${word} the order of ${money(review.total, review.currency)}`;
  const approve = el("button", { class: "button approve", type: "button", "aria-label": named("Approve"), onclick: () => decide("approve") }, "Approve");
  const decline = el("button", { class: "button decline", type: "button", "aria-label": named("Decline"), onclick: () => decide("decline") }, "Decline");
  const deciding = el("div", { class: "deciding" },
    el("div", { class: "field" }, el("label", { for: note.id }, "Note, for the journal"), note),
    el("div", { class: "deciding-buttons" }, approve, decline), problem);
  const node = el("li", { class: "panel review", tabindex: "-1", "aria-label": `Order of ${money(review.total, review.currency)}` },
    el("div", { class: "review-head" },
      el("p", { class: "score number" }, el("span", {}, review.risk_score.toFixed(0), el("small", {}, "risk"))),
      el("div", {},
        el("p", { class: "amount number" }, money(review.total, review.currency)),
        el("p", { class: "about" }, [`to ${review.country ? country(review.country) : "an unknown country"}`, `by ${review.payment_method.replaceAll("_", " ")}`, `placed ${moment(review.placed_at)}`].join(" · ")),
        buyer),
      left),
    el("div", { class: "review-body" }, why(review),
      el("div", { class: "facts" }, goods(review), addresses(review, onRefused),
        el("p", { class: "about" }, el("code", {}, review.order_id), el("br"), el("code", {}, review.customer)))),
    deciding);
  let isDone = false;

  async function decide(decision) {
    say(problem);
    approve.disabled = decline.disabled = true;
    try {
      const answer = await ask("POST", `/${encodeURIComponent(review.order_id)}/decision`, { body: { decision, note: note.value.trim() } });
      isDone = true;
      const [kind, sentence] = outcome(answer);
      fill(deciding, el("p", { class: "outcome", "data-kind": kind, tabindex: "-1" }, sentence));
      deciding.firstChild.focus();
      left.hidden = true;
      onDecided();
    } catch (refused) {
      say(problem, refused.message);
      onRefused(refused);
      approve.disabled = decline.disabled = false;
    }
  }

  return {
    node,
    get isDone() { return isDone; },
    /** Someone writes or decides here: it is not taken away under their hands. */
    get isInUse() { return node.contains(document.activeElement) || note.value !== "" || approve.disabled; },
    /** `others` waiting orders are the same buyer's; `isPart` if there may be more of them. */
    update(seconds, { others, isPart }) {
      const many = others > 0 && `${isPart ? "at least " : ""}${others + 1} orders of this buyer wait`;
      if (buyer.dataset.many !== String(many)) {
        buyer.dataset.many = String(many);
        fill(buyer, `buyer …${review.customer.slice(-SHORT)}`, many && [" · ", el("strong", {}, many)]);
      }
      const text = timeLeft(seconds);
      if (left.dataset.text === text) return;
      left.dataset.text = text;
      left.dataset.level = seconds < SOON_S ? "soon" : "calm";
      fill(left, document.createTextNode(text), el("small", {}, " to decide"));
    },
    /** Somebody else has decided, or its time was over. */
    moveOn() {
      if (isDone) return;
      isDone = true;
      left.hidden = true;
      fill(deciding, el("p", { class: "outcome", "data-kind": "late" }, "It waits no more: decided by someone else, or its time was over."));
    },
  };
}
