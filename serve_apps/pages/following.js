// Orders that wait: the way to the provider's page and back, what is left to do, and asking how it went.

import { getOrder, orders, tab } from "/assets/api.js";
import { announce, decimals, el, fill, link, moment, money, say } from "/assets/dom.js";
import { capital } from "/assets/words.js";

const WAITING = ["pending", "accepted", "awaiting_payment", "in_review"];
const QUICK_ASKS = 15; // a payment page answers at once, so that is how often we ask quickly
const QUICK_MS = 1_000;
const STEADY_MS = 4_000;
const SLOW_MS = 15_000; // banks and people take hours
const ASKS_MAX = 1_000; // then the shopper asks
const COPIED_MS = 2_000;
// How an account is told, in this order; what is not named here comes behind it.
const NAMES = {
  account_holder: "Account holder", account_holder_name: "Account holder", iban: "IBAN", bic: "BIC", sort_code: "Sort code",
  swift_code: "SWIFT code", routing_number: "Routing number", account_number: "Account number", bank_name: "Bank",
  amount: "Amount", reference: "Reference",
};
const ORDER = Object.keys(NAMES);

export const isWaiting = (order) => WAITING.includes(order.status);
const actionOf = (order, kind) => (order.next_actions ?? []).find((action) => action.kind === kind);

/** Where the shopper has to approve the payment, or null. Only the web, or this shop's own pages. */
export function redirectOf(order) {
  const url = actionOf(order, "redirect")?.url ?? "";
  return /^https?:\/\//.test(url) || /^\/(?!\/)/.test(url) ? url : null;
}

/** To the provider's page; the browser's way back from there leads to the order. */
export function goToProvider(id, url) {
  tab.set("waiting", id);
  history.replaceState(null, "", `#/order/${encodeURIComponent(id)}?back`);
  location.assign(url);
}

/** Where a provider sends the shopper back to: finds the order that waits, and shows it. */
export function backView(main) {
  // What the provider added to the address is only a hint, and nobody needs to see it.
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  const id = tab.get("waiting") ?? orders.all().find((order) => WAITING.includes(order.status))?.order_id;
  if (id) location.replace(`#/order/${encodeURIComponent(id)}?back`);
  else {
    fill(main, el("h1", { tabindex: -1 }, "Welcome back"), el("div", { class: "empty" },
      el("p", {}, "This browser does not know which order you come back from. If you paid in another browser, look there."),
      link("#/orders", "Your orders", "button")));
  }
}

/** How an order that waits is called, and what the shopper is told about it. */
export function waitingWords(order, isBack) {
  if (order.status === "in_review") {
    return ["Somebody looks at your order first", "Your order is in, and your items are held for you. Before anything is charged, somebody at the shop looks at it. We'll tell you here how it goes on; you need not keep this page open."];
  }
  if (actionOf(order, "transfer")) {
    return ["Your order waits for your transfer", "Your items are held for you. Send the money with exactly this reference. We'll tell you here when it has come; you need not keep this page open."];
  }
  if (redirectOf(order)) {
    return isBack
      ? ["We are asking about your payment", "If you have approved it, this takes a moment. If not, you still can."]
      : ["Your order waits for your payment", "Your items are held for you. Approve the payment, and the order goes on."];
  }
  return ["Your order is being placed", "This takes a moment. We'll tell you here how it went."];
}

/** What there is to do, and for how long. */
export function waitingPart(order, { isBack, signal }) {
  const [, words] = waitingWords(order, isBack);
  const redirect = redirectOf(order);
  const transfer = actionOf(order, "transfer");
  return el("section", { class: "panel waiting", "aria-label": "What happens next" },
    el("p", {}, words),
    transfer && instructions(transfer, order),
    order.waits_until && timeLeft(order.waits_until, signal),
    redirect && el("a", { class: "button", href: redirect, onclick: (event) => { event.preventDefault(); goToProvider(order.order_id, redirect); } },
      "Go to the payment page"));
}

/** What has to be sent: the action says it, or the order's part of the payment, or its total. */
function amountOf({ instructions: told, ...action }, order) {
  const currency = action.currency ?? told.currency?.toUpperCase() ?? order.currency;
  const left = action.amount_minor ?? told.amount_remaining; // minor units
  const part = order.payments?.find((one) => one.type === "bank_transfer");
  const amount = action.amount ?? (left === undefined ? part?.amount ?? order.grand_total : Number(left) / 10 ** decimals(currency));
  return ["amount", amount.toFixed(decimals(currency)), money(amount, currency)];
}

const inFours = (text) => text.replace(/\s/g, "").replace(/(.{4})(?=.)/g, "$1 ");

/** Each as [label, what is copied, what is shown]. A provider may name several accounts: `iban.bic`. */
function rowsOf(action, order) {
  const told = Object.entries(action.instructions).filter(([name]) => !["amount", "amount_remaining", "currency"].includes(name));
  const of = (name) => (name.includes(".") ? name.split(".", 1)[0] : "");
  const accounts = new Set(told.map(([name]) => of(name)).filter(Boolean));
  const rows = told.map(([name, text]) => [name, text, text]);
  rows.push(amountOf(action, order));
  const place = ([path]) => {
    const known = ORDER.indexOf(path.split(".").pop());
    const account = ["amount", "reference"].includes(path) ? accounts.size : [...accounts].indexOf(of(path));
    return [account, known < 0 ? ORDER.length : known];
  };
  rows.sort((one, other) => place(one)[0] - place(other)[0] || place(one)[1] - place(other)[1]);
  return rows.map(([path, text, shown]) => {
    const name = path.split(".").pop();
    const label = NAMES[name] ?? capital(name.replaceAll("_", " "));
    const isIban = name === "iban";
    return [accounts.size > 1 && of(path) ? `${label} (${of(path).toUpperCase()})` : label,
      isIban ? text.replace(/\s/g, "") : text, isIban ? inFours(text) : shown];
  });
}

function instructions(action, order) {
  const { url } = action;
  return el("div", { class: "transfer" },
    el("dl", {}, rowsOf(action, order).map(([label, text, shown]) => el("div", {}, el("dt", { class: "muted small" }, label),
      el("dd", {}, label === NAMES.amount ? el("strong", { class: "number" }, shown) : el("code", {}, shown)), copyButton(label, text)))),
    /^https?:\/\//.test(url ?? "") && el("p", { class: "small" }, el("a", { href: url, rel: "noreferrer" }, "The same at the payment provider's page")));
}

function copyButton(label, text) {
  const button = el("button", {
    type: "button", class: "quiet", "aria-label": `Copy: ${label}`,
    onclick: async () => {
      const isDone = await copy(text, button);
      announce(isDone ? `${label} copied` : `Copying is not allowed here: ${label} is selected instead`);
      button.textContent = isDone ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, COPIED_MS);
    },
  }, "Copy");
  return button;
}

/** Whether it is in the clipboard; where that is forbidden the text is selected for the shopper. */
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    return false;
  }
}

function timeLeft(until, signal) {
  const line = el("p", { class: "time-left small" });
  const end = new Date(until).getTime();
  function tell() {
    const seconds = Math.max(0, Math.round((end - Date.now()) / 1000));
    const minutes = Math.floor(seconds / 60);
    if (seconds === 0) line.textContent = "The time is over: the order is being closed, and nothing is charged.";
    else if (minutes >= 60) fill(line, "Held for you until ", el("time", { datetime: until }, moment(until)), ".");
    else line.textContent = `Held for you for another ${minutes > 0 ? `${minutes} min ` : ""}${seconds % 60} s.`;
  }
  tell();
  const timer = setInterval(() => (line.isConnected ? tell() : clearInterval(timer)), 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  return line;
}

/** Wait, longer while nobody looks; looking again ends the wait at once. */
function untilNextLook(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      if (document.hidden && !signal.aborted) return;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    document.addEventListener("visibilitychange", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Ask about an order until it waits no more; `show` is told whenever something changed. */
export async function follow(order, { signal, show, problem }) {
  let last = order;
  for (let asks = 0; isWaiting(last) && asks < ASKS_MAX; asks += 1) {
    const isSlow = last.status === "in_review" || Boolean(actionOf(last, "transfer"));
    await untilNextLook(isSlow ? SLOW_MS : asks < QUICK_ASKS ? QUICK_MS : STEADY_MS, signal);
    if (signal.aborted) return;
    try {
      const next = await getOrder(order.order_id, { settle: !isSlow, signal });
      if (signal.aborted) return;
      say(problem);
      const hasChanged = next.status !== last.status || JSON.stringify(next.next_actions) !== JSON.stringify(last.next_actions);
      last = next;
      if (hasChanged) show(next);
    } catch (error) {
      if (signal.aborted) return;
      say(problem, `${error.sentence ?? error.message} We go on asking.`);
    }
  }
}
