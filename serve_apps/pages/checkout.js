// The checkout: a form that turns the cart into an order exactly once, at the total that was shown.

import { attempts, getCredit, guest, orders, tab, waiting } from "/assets/api.js";
import { emptyCart, loadCart } from "/assets/buying.js";
import { announce, el, fill, link, money, problemLine, radio, say } from "/assets/dom.js";
import { goToProvider, redirectOf } from "/assets/following.js";
import { payingPart } from "/assets/paying.js";
import { COUNTRIES, STATES } from "/assets/places.js";
import { priceDesk } from "/assets/prices.js";

const FIELDS = [
  // name, label, autocomplete, longest, required, width
  ["name", "Full name", "name", 200, true, "whole"],
  ["street", "Street and number", "street-address", 200, true, "whole"],
  ["city", "City", "address-level2", 100, true, "half"],
  ["zip", "Postal code", "postal-code", 20, true, "half"],
];
const ADDRESS = ["name", "street", "city", "state", "zip", "country"];
const KEPT = [...ADDRESS, "email", "shipping_method"];
const EMAIL_LENGTH_MAX = 254;
const EMAIL = /^[^@\s]+@[^@\s]+$/; // as the shop checks it
const SHIPPING = [
  ["standard", "Standard", "about five delivery days"],
  ["express", "Express", "about two delivery days"],
];
const PLACE = "Place order";

export async function checkoutView(main, { signal }) {
  // An order whose answer was lost comes first: until it is settled no other may be placed.
  const pending = attempts.pending();
  if (pending) {
    showPending(main, pending, signal);
    return;
  }
  const cart = await loadCart(main, "Checkout", signal);
  if (!cart) return;
  cart.cart_id ??= guest.cartId;
  const problem = problemLine("checkout-problem");
  const button = el("button", { type: "submit", class: "button" }, PLACE);
  const paying = payingPart({ currency: cart.currency, signal });
  const form = el("form", { class: "two checkout", novalidate: true },
    el("div", { class: "form-parts" }, addressPart(), choicePart("Shipping", "shipping_method", SHIPPING), paying.node));
  refill(form);
  const onTotal = (quote) => {
    paying.setTotal(quote.grand_total);
    if (!button.disabled) button.textContent = `${PLACE} · ${money(quote.grand_total, quote.currency)}`;
  };
  const prices = priceDesk(cart, { destination: () => destination(form), onTotal, signal });
  form.append(el("aside", { class: "panel sticky", "aria-label": "Your order" },
    el("div", { class: "scrolls" }, el("h2", {}, "Your order"), prices.node), problem, button));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled && isComplete(form)) submit(main, { form, button, problem, cart, prices, paying, signal });
  });
  for (const name of ["input", "change"]) form.addEventListener(name, () => prices.change());
  form.elements.country.addEventListener("change", () => showStates(form));
  fill(main, el("h1", { tabindex: -1 }, "Checkout"), form);
  prices.settle();
  getCredit({ signal }).then(paying.showCredit).catch(() => {}); // without it, less is offered
}

function addressPart() {
  const names = new Intl.DisplayNames("en", { type: "region" });
  return el("fieldset", { class: "panel" }, el("legend", {}, "Where to"),
    el("div", { class: "fields" },
      FIELDS.map(([name, label, autocomplete, maxlength, required, width]) => field(name, label, width,
        el("input", { id: `address-${name}`, name, autocomplete, maxlength, required, "aria-describedby": `problem-${name}` }), required)),
      field("country", "Country", "half",
        el("select", { id: "address-country", name: "country", autocomplete: "country", "aria-describedby": "problem-country" },
          COUNTRIES.map((code) => el("option", { value: code }, names.of(code)))), true),
      stateField("US"),
      field("email", "E-mail", "whole", el("input", {
        id: "address-email", name: "email", type: "email", autocomplete: "email", maxlength: EMAIL_LENGTH_MAX, "aria-describedby": "problem-email",
      }), false)));
}

const field = (name, label, width, input, required) => el("div", { class: `field ${width}`, "data-field": name },
  el("label", { for: input.id }, label, required ? null : el("span", { class: "muted" }, " (optional)")), input, problemLine(`problem-${name}`));

/** Where tax depends on the state it is chosen from a list, elsewhere it may be left out. */
function stateField(country) {
  const states = STATES[country];
  const about = { id: "address-state", name: "state", autocomplete: "address-level1", "aria-describedby": "problem-state" };
  return field("state", country === "CA" ? "Province" : "State", "half", states
    ? el("select", { ...about, required: true }, el("option", { value: "" }, "Choose…"), states.map(([code, name]) => el("option", { value: code }, name)))
    : el("input", { ...about, maxlength: 100 }), Boolean(states));
}

function showStates(form) {
  form.querySelector('[data-field="state"]').replaceWith(stateField(form.elements.country.value));
}

function choicePart(title, name, choices) {
  return el("fieldset", { class: "panel" }, el("legend", {}, title),
    el("div", { class: "radios" }, choices.map((choice, index) => radio(name, choice, index === 0))), problemLine(`problem-${name}`));
}

/** The form as it was when an order was last placed in this tab: for another try. */
function refill(form) {
  const kept = tab.get("form");
  if (!kept) return;
  form.elements.country.value = kept.country ?? "US";
  showStates(form);
  for (const name of KEPT) if (kept[name]) form.elements[name].value = kept[name];
}

const given = (form, name) => form.elements[name].value.trim();

/** What a price depends on. */
function destination(form) {
  const address = { country: given(form, "country") };
  for (const name of ["state", "zip"]) if (given(form, name)) address[name] = given(form, name);
  const needsState = Boolean(STATES[address.country]) && !address.state;
  return { shipping_address: address, shipping_method: given(form, "shipping_method"), needsState };
}

function fieldProblem(form, name, text) {
  const line = form.querySelector(`[id="problem-${CSS.escape(name)}"]`);
  if (line) say(line, text);
  const input = form.elements[name];
  if (input instanceof HTMLElement) input.setAttribute("aria-invalid", "true");
  return line ? input : null;
}

function clearProblems(form) {
  for (const line of form.querySelectorAll(".problem")) say(line);
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

function isComplete(form) {
  clearProblems(form);
  const missing = [...form.querySelectorAll("[required]")].filter((input) => !input.value.trim()).map((input) =>
    fieldProblem(form, input.name, `Please fill in: ${form.querySelector(`label[for="${input.id}"]`).textContent.toLowerCase()}.`));
  const email = given(form, "email");
  if (email && !EMAIL.test(email)) missing.push(fieldProblem(form, "email", "This is no e-mail address: correct it, or leave it out."));
  missing[0]?.focus();
  return missing.length === 0;
}

function checkoutBody(form, { cart, quote, payment }) {
  const address = {};
  for (const name of ADDRESS) if (given(form, name)) address[name] = given(form, name);
  const email = given(form, "email");
  const coupons = tab.get("coupons") ?? [];
  return {
    cart_id: cart.cart_id,
    shipping_address: address,
    ...payment,
    shipping_method: given(form, "shipping_method"),
    ...(email ? { contact: { email } } : {}),
    ...(coupons.length ? { coupons } : {}),
    expected_total: quote.grand_total,
  };
}

/** Only at a total that the shopper has seen: what changed between look and click is shown first. */
async function submit(main, view) {
  const { form, button, problem, prices, paying, signal } = view;
  const seen = prices.quote?.grand_total;
  clearProblems(form);
  setBusy(button, true);
  const quote = await prices.settle();
  const payment = quote && seen === quote.grand_total ? await paying.chosen() : null;
  if (signal.aborted) return;
  if (payment) {
    tab.set("form", Object.fromEntries(KEPT.map((name) => [name, given(form, name)])));
    await place(main, checkoutBody(form, { ...view, quote, payment }), view);
    return;
  }
  setBusy(button, false, quote);
  if (!quote) say(problem, "The order was not placed: we could not work out its total.");
  else if (seen !== quote.grand_total) showNewTotal(view, quote, seen);
  else say(problem, "The order was not placed: see how you pay.");
}

function setBusy(button, isBusy, quote = null) {
  button.disabled = isBusy;
  if (isBusy) button.textContent = "Placing your order…";
  else button.textContent = quote ? `${PLACE} · ${money(quote.grand_total, quote.currency)}` : PLACE;
}

function showNewTotal({ problem, button }, { grand_total: total, currency }, seen) {
  const before = seen === undefined ? "" : `, not ${money(seen, currency)}`;
  say(problem, `The total is ${money(total, currency)} now${before}. Nothing was ordered or charged. Place the order if that is right.`);
  button.focus();
}

async function place(main, body, view) {
  const { form, button, problem, cart, prices, signal } = view;
  try {
    succeed(await attempts.send(body, { onWait: waiting(problem) }), signal);
  } catch (error) {
    if (signal.aborted) return;
    const pending = attempts.pending();
    setBusy(button, false, prices.quote);
    if (pending) showPending(main, pending, signal);
    else if (error.kind === "unauthorized") {
      guest.forget();
      fill(main, el("h1", { tabindex: -1 }, "Checkout"), emptyCart("Your earlier cart has expired. Nothing was ordered or charged."));
    } else if (["total_changed", "coupon_used_up", "coupon_refused"].includes(error.kind)) await showPriceRefusal(view, error);
    else showRefusal(form, problem, error, cart, view.paying);
  }
}

/** The shop would not sell at that total: the new one is worked out, shown, and asked for again. */
async function showPriceRefusal(view, error) {
  const { prices, problem, button, signal } = view;
  const seen = prices.quote?.grand_total;
  if (error.document.coupon) prices.drop(error.document.coupon);
  button.disabled = true;
  const quote = await prices.settle({ isFresh: true });
  if (signal.aborted) return;
  setBusy(button, false, quote);
  const now = quote ?? error.document;
  if (error.kind === "total_changed") showNewTotal(view, now, seen);
  else {
    say(problem, `${error.sentence} Nothing was charged. ${quote ? `Without it the total is ${money(quote.grand_total, quote.currency)}.` : ""}`);
    button.focus();
  }
}

/** 201: the order is paid. 202: it waits for the shopper, a bank, or somebody at the shop. */
function succeed(order, signal) {
  const { order_id: id, grand_total, currency, status } = order;
  orders.add({ order_id: id, placed_at: new Date().toISOString(), grand_total, currency, status });
  guest.cartEmptied();
  tab.set("coupons", null);
  if (signal.aborted) return;
  const redirect = status !== "confirmed" && redirectOf(order);
  if (redirect) {
    announce("Taking you to the page where you approve the payment.");
    goToProvider(id, redirect);
  } else location.replace(`#/order/${encodeURIComponent(id)}${status === "confirmed" ? "?placed" : ""}`);
}

function showRefusal(form, line, error, cart, paying) {
  const fields = (error.document?.errors ?? []).map(({ field: path, message }) =>
    fieldProblem(form, String(path).split(".").pop(), message));
  const first = fields.find((input) => input instanceof HTMLElement);
  if (error.kind === "out_of_stock") {
    const item = cart.items.find((i) => i.sku === error.document.sku || i.product_id === error.document.product_id);
    say(line, `${item ? `${item.name}: ` : ""}${error.sentence} Nothing was charged. `, link("#/cart", "Change your cart"));
  } else if (error.kind === "limit_exceeded") say(line, `${error.sentence} Nothing was charged. `, link("#/cart", "Change your cart"));
  else if (error.kind === "cart_empty") say(line, `${error.sentence} `, link("#/search", "Back to the shop"));
  else if (error.kind === "payment_declined") {
    say(line, "The order was not placed: see how you pay.");
    paying.refuse(error.sentence, error.document.decline_code);
  } else if (first) say(line, "The order was not placed: please look at the marked fields.");
  else say(line, error.sentence ?? error.message);
  first?.focus();
}

/** The answer to an order was lost. The same key asks again, so there can only be one order. */
function showPending(main, pending, signal) {
  const problem = problemLine("pending-problem");
  const ask = async () => {
    button.disabled = true;
    try {
      succeed(await attempts.send(pending.body, { onWait: waiting(problem) }), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (attempts.pending()) {
        button.disabled = false;
        say(problem, error.sentence ?? error.message);
      } else if (error.isBusy) checkoutView(main, { signal });
      else {
        fill(main, el("h1", { tabindex: -1 }, "The order was not placed"), el("p", { class: "problem" }, `${error.sentence ?? error.message} `, link("#/cart", "Back to your cart")));
        main.querySelector("h1").focus();
      }
    }
  };
  const button = el("button", { type: "button", class: "button", onclick: ask }, "Ask again");
  fill(main, el("h1", { tabindex: -1 }, "We are still waiting to hear about your order"), el("div", { class: "panel" },
    el("p", {}, "The answer got lost on its way. Asking again is safe: you will not be charged twice."), problem, button));
  main.querySelector("h1").focus();
}
