// Which card pays: one that the shopper has saved, or, where no money moves, one to try things with.

import { getMethods } from "/assets/api.js";
import { el, fill, problemLine, radio, say } from "/assets/dom.js";
import { capital } from "/assets/words.js";

/** The payment provider that takes cards in this shop; the page was told with its first line. */
const PROVIDER = document.documentElement.dataset.takesCards ?? "";
const IS_SIMULATED = PROVIDER === "simulated";
const TEST_CARDS = [
  ["card_visa_4242", "Visa ending 4242", "is charged"],
  ["card_declined", "Visa ending 0002", "is declined"],
  ["card_insufficient_funds", "Visa ending 9995", "lacks funds"],
  ["card_expired", "Visa ending 0069", "has expired"],
  ["card_processing_error", "Visa ending 0119", "meets an error at its bank"],
  ["card_3ds", "Visa ending 3220", "wants you to confirm at your bank"],
];
const SAVED = "method_"; // what the ids of saved means of payment begin with

function savedCard({ method_id: id, brand, last_four: digits, expiry_month: month, expiry_year: year }) {
  const until = month && year ? `saved, good until ${String(month).padStart(2, "0")}/${year}` : "saved";
  return [id, `${capital(brand)} ending ${digits}`, until];
}

function about(count) {
  if (IS_SIMULATED) {
    return `${count ? "Your saved cards, and those" : "These are the cards"} of the simulated provider; each of ${count ? "the latter" : "them"} shows what can happen.`;
  }
  return `${count ? "These are your saved cards." : "You have no saved card here."} A new card is entered in ${capital(PROVIDER)}'s own form, which this page does not have: the shop's own front end shows it.`;
}

/** The choice of a card. `chosen()` is what the checkout is told of it; null if there is none. */
export function cardPart({ signal }) {
  const problem = problemLine("problem-card_id");
  const note = el("p", { class: "muted small" });
  let isTouched = false;
  const list = el("div", { class: "radios", onchange: () => { isTouched = true; } });
  const node = el("fieldset", { class: "cards" }, el("legend", {}, "Which card"), note, list, problem);

  const checked = () => list.querySelector(":checked");
  function show(saved) {
    const before = isTouched ? checked()?.value : null;
    const choices = [...saved.map(savedCard), ...(IS_SIMULATED ? TEST_CARDS : [])];
    const at = Math.max(0, choices.findIndex(([value]) => value === before));
    fill(list, choices.map((card, index) => radio("card_id", card, index === at)));
    note.textContent = about(saved.length);
  }

  show([]);
  if (!IS_SIMULATED) note.textContent = "Looking for your saved cards…";
  getMethods({ signal }).then(({ methods }) => show(methods.filter((one) => one.type === "card"))).catch(() => {
    if (!signal.aborted && !IS_SIMULATED) note.textContent = "Your saved cards could not be loaded. Reload the page to try again.";
  });

  return {
    node,
    chosen() {
      const value = checked()?.value;
      if (!value) return null;
      return value.startsWith(SAVED) ? { method_id: value } : { card_id: value };
    },
    say: (words) => say(problem, words),
    focus: () => checked()?.focus(),
  };
}
