// Buying: the cart, and the checkout that turns it into an order exactly once.

import { attempts, getCart, guest, orders, setQuantity, waiting } from "/assets/api.js";
import { retry } from "/assets/catalog.js";
import { announce, count, el, fill, link, money, picture, problemLine, say } from "/assets/dom.js";
import { totals } from "/assets/orders.js";

const QUANTITY_MAX = 999;
const COUNTRIES = ["US", "AT", "AU", "BE", "BR", "CA", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IN", "IT", "JP", "MX", "NL", "NO", "NZ", "PL", "PT", "SE", "SG"];
const FIELDS = [
  // name, label, autocomplete, longest, required, width
  ["name", "Full name", "name", 200, true, "whole"],
  ["street", "Street and number", "street-address", 200, true, "whole"],
  ["city", "City", "address-level2", 100, true, "half"],
  ["state", "State", "address-level1", 100, false, "quarter"],
  ["zip", "Postal code", "postal-code", 20, true, "quarter"],
];
const CARDS = [
  ["card_visa_4242", "Visa ending 4242", "is charged"],
  ["card_declined", "Visa ending 0002", "is declined"],
  ["card_insufficient_funds", "Visa ending 9995", "lacks funds"],
  ["card_expired", "Visa ending 0069", "has expired"],
];
const SHIPPING = [
  ["standard", "Standard", "about five delivery days"],
  ["express", "Express", "about two delivery days"],
];

const emptyCart = (text = "Your cart is empty.") => el("div", { class: "empty" },
  el("p", {}, text), link("#/search", "Find something good", "button"));

/** The cart, or null after saying why not: what both views below start from. */
async function loadCart(main, title, signal) {
  const problem = problemLine("cart-problem");
  const heading = el("h1", { tabindex: -1 }, title);
  fill(main, heading, problem);
  try {
    const cart = await getCart({ signal, onWait: waiting(problem) });
    if (signal.aborted) return null;
    if (cart.items.length === 0) fill(main, heading, emptyCart());
    return cart.items.length === 0 ? null : cart;
  } catch (error) {
    if (signal.aborted) return null;
    if (["unauthorized", "not_found"].includes(error.kind)) {
      guest.forget();
      fill(main, heading, emptyCart("Your earlier cart has expired. The next thing you add starts a new one."));
    } else say(problem, `${error.sentence ?? error.message} `, retry());
    return null;
  }
}

export async function cartView(main, { signal }) {
  const cart = await loadCart(main, "Your cart", signal);
  if (cart) showCart(main, cart, signal);
}

function showCart(main, cart, signal) {
  if (cart.items.length === 0) {
    fill(main, el("h1", { tabindex: -1 }, "Your cart"), emptyCart());
    main.querySelector("h1").focus();
    return;
  }
  const list = el("ul", { class: "lines" }, cart.items.map((item) => cartLine(main, item, cart, signal)));
  fill(main, el("h1", { tabindex: -1 }, "Your cart"), el("div", { class: "two cart" },
    el("section", { class: "panel", "aria-label": "Items" }, list),
    el("aside", { class: "panel sticky", "aria-label": "Sum" },
      el("dl", { class: "totals" }, el("dt", { class: "sum" }, count(cart.item_count, "item")), el("dd", { class: "sum number" }, money(cart.total, cart.currency))),
      el("p", { class: "muted small" }, "Shipping and tax are added when you place the order."),
      link("#/checkout", "Check out", "button"))));
}

function cartLine(main, item, cart, signal) {
  const problem = problemLine(`problem-${item.variant_id}`);
  const change = async (quantity) => {
    row.setAttribute("aria-busy", "true");
    say(problem);
    try {
      const next = await setQuantity(item.variant_id, quantity, { signal, onWait: waiting(problem) });
      if (signal.aborted) return;
      announce(quantity === 0 ? `${item.name} removed` : `${item.name}: ${quantity}`);
      showCart(main, next, signal);
      (document.getElementById(`quantity-${item.variant_id}`) ?? main.querySelector("h1")).focus({ preventScroll: true });
    } catch (error) {
      if (signal.aborted) return;
      if (error.kind === "unauthorized") {
        cartView(main, { signal });
        return;
      }
      input.value = item.quantity;
      say(problem, error.sentence ?? error.message);
    } finally {
      row.removeAttribute("aria-busy");
    }
  };
  const input = el("input", {
    id: `quantity-${item.variant_id}`, type: "number", min: 1, max: QUANTITY_MAX, value: item.quantity, inputmode: "numeric",
    onchange: () => {
      const wanted = input.valueAsNumber;
      if (Number.isInteger(wanted) && wanted >= 0 && wanted <= QUANTITY_MAX) change(wanted);
      else {
        input.value = item.quantity;
        say(problem, `Please choose a whole number up to ${QUANTITY_MAX}.`);
      }
    },
  });
  const row = el("li", {},
    picture(item.product_id, { side: 96 }),
    el("div", { class: "line-text" },
      link(`#/product/${encodeURIComponent(item.product_id)}`, item.name, "line-name"),
      el("span", { class: "muted small number" }, `${item.sku} · ${money(item.price, cart.currency)} each`),
      el("div", { class: "line-edit" },
        el("label", { for: input.id, class: "unseen" }, `Quantity of ${item.name}`), input,
        el("button", { type: "button", class: "plain", "aria-label": `Remove ${item.name}`, onclick: () => change(0) }, "Remove")),
      problem),
    el("span", { class: "line-sum number" }, money(item.subtotal, cart.currency)));
  return row;
}

export async function checkoutView(main, { signal }) {
  // An order whose answer was lost comes first: until it is settled no other may be placed.
  const pending = attempts.pending();
  if (pending) {
    showPending(main, pending, signal);
    return;
  }
  const cart = await loadCart(main, "Checkout", signal);
  if (!cart) return;
  const problem = problemLine("checkout-problem");
  const button = el("button", { type: "submit", class: "button" }, "Place order");
  const form = el("form", {
    class: "two checkout", novalidate: true,
    onsubmit: (event) => {
      event.preventDefault();
      if (isComplete(form)) place(main, checkoutBody(form, cart), { form, button, problem, cart, signal });
    },
  },
  el("div", { class: "form-parts" }, addressPart(),
    choicePart("Shipping", "shipping_method", SHIPPING),
    choicePart("Card", "card_id", CARDS, "These are the cards of the simulated provider; each shows what can happen.")),
  el("aside", { class: "panel sticky", "aria-label": "Your order" }, el("h2", {}, "Your order"),
    el("ul", { class: "lines small-lines" }, cart.items.map((item) => el("li", {},
      picture(item.product_id, { side: 64 }),
      el("div", { class: "line-text" }, el("span", { class: "line-name" }, item.name), el("span", { class: "muted small number" }, `${item.quantity} × ${money(item.price, cart.currency)}`)),
      el("span", { class: "line-sum number" }, money(item.subtotal, cart.currency))))),
    totals({ total: cart.total, currency: cart.currency }),
    el("p", { class: "muted small" }, "Shipping and tax are added when you place the order."),
    problem, button));
  fill(main, el("h1", { tabindex: -1 }, "Checkout"), form);
}

function addressPart() {
  const names = new Intl.DisplayNames("en", { type: "region" });
  return el("fieldset", { class: "panel" }, el("legend", {}, "Where to"),
    el("div", { class: "fields" }, FIELDS.map(([name, label, autocomplete, maxlength, required, width]) => field(name, label, width,
      el("input", { id: `address-${name}`, name, autocomplete, maxlength, required, "aria-describedby": `problem-${name}` }), required)),
    field("country", "Country", "whole",
      el("select", { id: "address-country", name: "country", autocomplete: "country", "aria-describedby": "problem-country" },
        COUNTRIES.map((code) => el("option", { value: code }, names.of(code)))), true)));
}

const field = (name, label, width, input, required) => el("div", { class: `field ${width}` },
  el("label", { for: input.id }, label, required ? null : el("span", { class: "muted" }, " (optional)")), input, problemLine(`problem-${name}`));

function choicePart(title, name, choices, note = null) {
  return el("fieldset", { class: "panel" }, el("legend", {}, title), note && el("p", { class: "muted small" }, note),
    el("div", { class: "radios" }, choices.map(([value, text, detail], index) => el("label", { class: "radio" },
      el("input", { type: "radio", name, value, checked: index === 0 }), el("span", {}, el("strong", {}, text), el("span", { class: "muted small" }, detail))))),
    problemLine(`problem-${name}`));
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
  const missing = FIELDS.filter(([name, , , , required]) => required && !form.elements[name].value.trim());
  const inputs = missing.map(([name, label]) => fieldProblem(form, name, `Please fill in: ${label.toLowerCase()}.`));
  inputs[0]?.focus();
  return missing.length === 0;
}

function checkoutBody(form, cart) {
  const given = Object.fromEntries(new FormData(form));
  const address = {};
  for (const name of [...FIELDS.map(([n]) => n), "country"]) if (given[name].trim()) address[name] = given[name].trim();
  return {
    cart_id: cart.cart_id ?? guest.cartId,
    shipping_address: address,
    payment_method: { type: "card", card_id: given.card_id },
    shipping_method: given.shipping_method,
  };
}

async function place(main, body, { form, button, problem, cart, signal }) {
  clearProblems(form);
  button.disabled = true;
  button.textContent = "Placing your order…";
  try {
    succeed(await attempts.send(body, { onWait: waiting(problem) }), signal);
  } catch (error) {
    if (signal.aborted) return;
    button.disabled = false;
    button.textContent = "Place order";
    const pending = attempts.pending();
    if (pending) showPending(main, pending, signal);
    else if (error.kind === "unauthorized") {
      guest.forget();
      fill(main, el("h1", { tabindex: -1 }, "Checkout"), emptyCart("Your earlier cart has expired. Nothing was ordered or charged."));
    } else showRefusal(form, problem, error, cart);
  }
}

function succeed(order, signal) {
  orders.add({ order_id: order.order_id, placed_at: new Date().toISOString(), grand_total: order.grand_total, currency: order.currency });
  guest.cartEmptied();
  if (!signal.aborted) location.replace(`#/order/${encodeURIComponent(order.order_id)}?placed`);
}

function showRefusal(form, line, error, cart) {
  const fields = (error.document?.errors ?? []).map(({ field: path, message }) =>
    fieldProblem(form, String(path).split(".").pop(), message));
  const first = fields.find((input) => input instanceof HTMLElement);
  if (error.kind === "payment_declined") say(form.querySelector("#problem-card_id"), error.sentence);
  if (error.kind === "out_of_stock") {
    const item = cart.items.find((i) => i.sku === error.document.sku || i.product_id === error.document.product_id);
    say(line, `${item ? `${item.name}: ` : ""}${error.sentence} Nothing was charged. `, link("#/cart", "Change your cart"));
  } else if (error.kind === "cart_empty") say(line, `${error.sentence} `, link("#/search", "Back to the shop"));
  else if (error.kind === "payment_declined") say(line, "The order was not placed: see the card you chose.");
  else if (first) say(line, "The order was not placed: please look at the marked fields.");
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
