// Buying: the cart.

import { getCart, guest, setQuantity, waiting } from "/assets/api.js";
import { retry } from "/assets/catalog.js";
import { announce, count, el, fill, link, money, picture, problemLine, say } from "/assets/dom.js";

const QUANTITY_MAX = 999;

export const emptyCart = (text = "Your cart is empty.") => el("div", { class: "empty" },
  el("p", {}, text), link("#/search", "Find something good", "button"));

/** The cart, or null after saying why not: what the cart and the checkout start from. */
export async function loadCart(main, title, signal) {
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
      el("p", { class: "muted small" }, "Shipping, tax and coupons come next."),
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
