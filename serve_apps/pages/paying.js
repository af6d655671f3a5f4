// How to pay: the choices, what each needs to know, and what the checkout is told of it.

import { waiting } from "/assets/api.js";
import { cardPart } from "/assets/cards.js";
import { askBalance, codeInput } from "/assets/credit.js";
import { announce, el, fill, money, problemLine, radio, say } from "/assets/dom.js";

const WAYS = [
  ["card", "Card", "charged when you place the order"],
  ["wallet", "Wallet", "you approve it at the wallet's page"],
  ["bank_transfer", "Bank transfer", "we hold your items until the money has come"],
  ["gift_card", "Gift card", "the rest, if any, by card"],
];
const NOTES = {
  wallet: "Next you go to the wallet's page to approve the payment, and from there back to your order.",
  bank_transfer: "You get an account and a reference for your bank. Your items are yours until then; the order goes on as soon as the money has come, mostly within a few days.",
};
/** Where a provider sends the shopper back to; the order's number is not known before. */
const returnUrl = () => `${location.origin}/#/back`;

const minor = (amount) => Number(amount.toFixed(4)); // sums of decimals without their binary tails

/** The part of the form about paying. `total` is set by whoever knows the price. */
export function payingPart({ currency, signal }) {
  const problem = problemLine("problem-pay");
  const cards = cardPart({ signal });
  const gift = giftPart({ signal, onChange: update });
  const ways = el("div", { class: "radios ways", onchange: (event) => { if (event.target.name === "pay") choose(); } });
  const free = el("p", { hidden: true }, "There is nothing to pay.");
  const node = el("fieldset", { class: "panel paying" }, el("legend", {}, "Payment"), problem, free, ways);
  const part = { node, total: null, setTotal, showCredit, chosen, refuse };
  let credit = 0;
  let way = "card";

  function addWay([value, text, detail], note = NOTES[value]) {
    const more = el("div", { class: "way-more", hidden: true }, note && el("p", { class: "small" }, note), value === "gift_card" && gift.node,
      el("p", { class: "rest small", hidden: true }));
    ways.append(el("div", { class: "way", "data-way": value }, radio("pay", [value, text, detail], value === way), more));
  }

  const place = (name = way) => ways.querySelector(`[data-way="${name}"] .way-more`);
  const available = () => ({ gift_card: gift.card?.balance ?? null, store_credit: credit })[way] ?? null;

  function choose() {
    way = ways.querySelector("[name=pay]:checked").value;
    for (const more of ways.querySelectorAll(".way-more")) more.hidden = more !== place();
    say(problem);
    update();
  }

  /** What the card has to pay beside a gift card or credit; 0 if nothing. */
  const restByCard = () => (available() === null || part.total === null ? 0 : minor(Math.max(0, part.total - available())));

  function update() {
    const rest = restByCard();
    const has = available();
    const line = place().querySelector(".rest");
    line.hidden = !has || part.total === null;
    if (has && part.total !== null) {
      const words = rest > 0
        ? `${money(has, currency)} is paid with it, and the rest, ${money(rest, currency)}, by the card you choose here:`
        : `It pays for the whole order; ${money(minor(has - part.total), currency)} stays on it.`;
      if (line.textContent !== words) announce(words);
      line.textContent = words;
    }
    if (way === "card" || (has && rest > 0)) place().append(cards.node);
    else cards.node.remove();
  }

  function setTotal(total) {
    part.total = total;
    const isFree = total === 0;
    free.hidden = !isFree;
    ways.hidden = isFree;
    update();
  }

  /** Offer what only some shoppers have, once the shop has said so. */
  function showCredit({ store_credit: own, terms }) {
    credit = own.find((one) => one.currency === currency)?.available ?? 0;
    const invoice = terms.find((one) => one.currency === currency && one.approved);
    if (credit > 0) addWay(["store_credit", "Store credit", `${money(credit, currency)} of yours; the rest, if any, by card`]);
    if (invoice) {
      addWay(["invoice", "Invoice", `to be paid within ${invoice.net_days} days`],
        `You can order for ${money(invoice.available, currency)} more on invoice.`);
    }
  }

  /** A card, and what pays beside it if anything does; null if there is no card, which is said. */
  function withCard(toBody) {
    const chosen = cards.chosen();
    if (chosen) return toBody({ type: "card", ...chosen, return_url: returnUrl() });
    cards.say("There is no card to pay with here. Choose another way to pay.");
    ways.querySelector("[name=pay]:checked").focus();
    return null;
  }
  const together = (method) => {
    const rest = restByCard();
    if (rest === 0) return { payment_method: method };
    return withCard((card) => ({ payment_methods: [{ ...method, amount: minor(part.total - rest) }, card] }));
  };

  /** What the checkout is told; null if something is missing, which is said beside it. */
  async function chosen() {
    if (part.total === 0) return { payment_method: { type: "store_credit" } }; // takes nothing of nothing
    if (way === "card") return withCard((card) => ({ payment_method: card }));
    if (way === "wallet") return { payment_method: { type: "wallet", return_url: returnUrl() } };
    if (way === "store_credit") return together({ type: "store_credit" });
    if (way !== "gift_card") return { payment_method: { type: way } };
    const isNew = gift.card === null;
    if (!(await gift.check({ currency }))) return null;
    if (isNew && restByCard() > 0) {
      say(problem, "The gift card pays a part of it. Choose the card for the rest, then place the order.");
      cards.focus();
      return null;
    }
    return together({ type: "gift_card", code: gift.card.code });
  }

  /** A payment that was declined: said where it was chosen. */
  function refuse(words, code = "") {
    if (code.startsWith("gift_card")) gift.refuse(words);
    else {
      const isCard = cards.node.isConnected && !["insufficient_credit", "invoice_not_approved", "credit_limit_exceeded"].includes(code);
      if (isCard) cards.say(words);
      else say(problem, words);
      (isCard ? cards.node : ways).querySelector(":checked").focus();
    }
  }

  for (const entry of WAYS) addWay(entry);
  choose();
  return part;
}

/** A gift card's code and what is on it. `card` is the last one that was found good. */
function giftPart({ signal, onChange }) {
  const problem = problemLine("problem-code");
  const told = el("p", { class: "told", role: "status" });
  const input = codeInput("gift-code", "problem-code");
  const button = el("button", { type: "button", class: "quiet", onclick: () => check({ isFresh: true }) }, "Check balance");
  const part = { card: null, check, refuse };
  part.node = el("div", { class: "gift" }, el("label", { for: "gift-code" }, "Code of the gift card"),
    el("div", { class: "pair" }, input, button), problem, told);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // asks what is on it; the order is not placed by it
    check({ isFresh: true });
  });
  input.addEventListener("input", forget);

  function forget() {
    part.card = null;
    fill(told);
    onChange();
  }

  function refuse(words) {
    forget();
    input.setAttribute("aria-invalid", "true");
    say(problem, words);
    input.focus();
    return false;
  }

  /** Whether there is a card to pay with; asks the shop unless it has said so of this code. */
  async function check({ currency = null, isFresh = false } = {}) {
    const code = input.value.trim();
    if (!code) return refuse("Type the code of the gift card first.");
    if (!isFresh && part.card?.code === code) return currency === null || part.card.currency === currency;
    button.disabled = true;
    const { card, refusal } = await askBalance(code, { signal, onWait: waiting(problem) }).finally(() => { button.disabled = false; });
    if (input.value.trim() !== code) return false; // another one was typed meanwhile
    if (refusal) return refuse(refusal);
    if (card.balance <= 0) return refuse(`There is nothing left on the card ending ${card.last_four}.`);
    if (currency !== null && card.currency !== currency) return refuse(`This card is for orders in ${card.currency}.`);
    say(problem);
    input.removeAttribute("aria-invalid");
    part.card = { ...card, code };
    told.textContent = `${money(card.balance, card.currency)} on the card ending ${card.last_four}.`;
    onChange();
    return true;
  }

  return part;
}
