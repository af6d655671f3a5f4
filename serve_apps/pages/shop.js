// The shop's pages for shoppers: which view the address asks for, and what surrounds the views.

import { guest, showCount } from "/assets/api.js";
import { cartView } from "/assets/buying.js";
import { productView, searchView } from "/assets/catalog.js";
import { checkoutView } from "/assets/checkout.js";
import { el, fill, link } from "/assets/dom.js";
import { backView } from "/assets/following.js";
import { orderView, ordersView } from "/assets/orders.js";

const VIEWS = {
  search: [searchView, "Shop"],
  product: [productView, "Product"],
  cart: [cartView, "Cart"],
  checkout: [checkoutView, "Checkout"],
  order: [orderView, "Order"],
  orders: [ordersView, "Orders"],
  back: [backView, "Welcome back"],
};

const main = document.getElementById("main");
const find = document.getElementById("find");
let leaving = new AbortController();
let shown = null;

function lostView(place) {
  fill(place, el("div", { class: "empty" }, el("h1", { tabindex: -1 }, "There is no such page"), link("#/search", "Back to the shop", "button")));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function show() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id = ""] = (path || "search").split("/");
  const [view, title] = Object.hasOwn(VIEWS, name) ? VIEWS[name] : [lostView, "Not found"];
  const query = new URLSearchParams(search);
  const isSamePlace = shown === name && name === "search";
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  document.title = `${title} · Doorbuster`;
  find.q.value = name === "search" ? query.get("q") ?? "" : "";
  for (const anchor of document.querySelectorAll(".top-nav a")) {
    if (anchor.hash === `#/${name}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const isFirst = shown === null;
  shown = name;
  const done = view(main, { id: decoded(id), query, signal });
  if (!isFirst && (!isSamePlace || query.has("page"))) scrollTo(0, 0);
  await done;
  // The heading is where a screen reader goes on reading; a form that is being typed in keeps focus.
  if (!isFirst && !isSamePlace && !signal.aborted) (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

find.addEventListener("submit", (event) => {
  event.preventDefault();
  const q = find.q.value.trim();
  location.hash = q ? `#/search?${new URLSearchParams({ q })}` : "#/search";
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
// Back from a payment page by the browser's own way: what is shown may be from before.
addEventListener("pageshow", (event) => { if (event.persisted) show(); });
addEventListener("storage", showCount); // another tab changed the cart
showCount();
if (!guest.token) guest.cartEmptied();
show();
