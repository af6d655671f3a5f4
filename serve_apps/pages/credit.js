// What the shop owes a shopper: gift cards' balances, store credit, open invoices.

import { getCardBalance, getCredit, waiting } from "/assets/api.js";
import { day, el, fill, money, problemLine, say } from "/assets/dom.js";

export const CODE_LENGTH_MAX = 64;

/** A gift card's balance, or a sentence why there is none to be told. */
export async function askBalance(code, options) {
  try {
    const card = await getCardBalance(code, options);
    return card.expired ? { refusal: `The gift card ending ${card.last_four} has expired.` } : { card };
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const unknown = "No gift card has this code. Check it for typing errors.";
    return { refusal: error.kind === "not_found" ? unknown : error.sentence ?? error.message };
  }
}

export const codeInput = (id, problemId) => el("input", {
  id, maxlength: CODE_LENGTH_MAX, autocomplete: "off", autocapitalize: "characters", spellcheck: "false", "aria-describedby": problemId,
});

function balanceForm(signal) {
  const problem = problemLine("problem-balance");
  const told = el("p", { role: "status", class: "told" });
  const input = codeInput("balance-code", "problem-balance");
  const button = el("button", { type: "submit", class: "quiet" }, "Check");
  const submit = async (event) => {
    event.preventDefault();
    fill(told);
    say(problem);
    const code = input.value.trim();
    if (!code) {
      say(problem, "Type the code of the gift card first.");
      return;
    }
    button.disabled = true;
    const { card, refusal } = await askBalance(code, { signal, onWait: waiting(problem) }).finally(() => { button.disabled = false; });
    if (refusal) say(problem, refusal);
    else {
      say(problem);
      const until = card.good_until ? `, good until ${day(card.good_until)}` : "";
      told.textContent = `${money(card.balance, card.currency)} on the card ending ${card.last_four}${until}.`;
    }
  };
  return el("form", { onsubmit: submit, novalidate: true }, el("label", { for: "balance-code" }, "What is on a gift card?"),
    el("div", { class: "pair" }, input, button), problem, told);
}

const entry = (name, amount, detail = null) => [
  el("dt", {}, name, detail && el("span", { class: "muted small" }, ` ${detail}`)), el("dd", { class: "number" }, amount),
];

/** Store credit, terms and invoices, as far as there are any, and a place to ask about a card. */
export function creditPanel(signal) {
  const list = el("dl", { class: "totals" });
  const panel = el("section", { class: "panel credit" }, el("h2", {}, "Credit"), list, balanceForm(signal));
  getCredit({ signal }).then((credit) => {
    const terms = credit.terms.filter((one) => one.approved);
    fill(list, [
      credit.store_credit.map((one) => entry("Store credit", money(one.available, one.currency))),
      terms.map((one) => entry("Left to buy on invoice", money(one.available, one.currency), `of ${money(one.limit, one.currency)}`)),
      credit.invoices.map((one) => entry(`Invoice ${one.number}`, money(one.open, one.currency), `due ${day(one.due_on)}`)),
    ].flat(2));
  }).catch(() => {}); // what the shop owes is shown where it can be read; the page goes on without
  return panel;
}
