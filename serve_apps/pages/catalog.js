// Finding things: the search page with its facets, and the product page.

import { addToCart, call, waiting } from "/assets/api.js";
import { announce, count, el, fill, link, money, picture, problemLine, say } from "/assets/dom.js";
import { stockWords, watch } from "/assets/live.js";
import { showResults } from "/assets/results.js";

const PAGE_SIZE = 24;
const CHOICES_SHOWN_MAX = 12;
const QUANTITY_MAX = 999;
const FILTERS = ["category", "brand", "min_price", "max_price"];

const hash = (query, changes) => {
  const next = new URLSearchParams(query);
  next.delete("page");
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") next.delete(name);
    else next.set(name, value);
  }
  return `#/search${next.size ? `?${next}` : ""}`;
};

/** The search page. Its frame stays while only the query changes, so nothing jumps or loses focus. */
export async function searchView(main, { query, signal }) {
  const frame = main.querySelector(".search") ?? buildFrame(main);
  const [title, status, problem, grid, pages, facets] = [
    ".search-title", ".search-count", ".problem", ".grid", ".pages", ".facets-body",
  ].map((selector) => frame.querySelector(selector));
  const q = query.get("q") ?? "";
  title.textContent = q ? `“${q}”` : query.get("category") ?? "Everything in the shop";
  grid.setAttribute("aria-busy", "true");
  say(problem);
  const asked = new URLSearchParams({ limit: PAGE_SIZE });
  for (const name of ["q", ...FILTERS, "page"]) if (query.get(name)) asked.set(name, query.get(name));
  try {
    const found = await call("GET", `/products/search?${asked}`, { signal, onWait: waiting(problem) });
    if (signal.aborted) return;
    say(problem);
    status.textContent = count(found.total_results, "product");
    announce(`${count(found.total_results, "product")}, page ${found.page} of ${Math.max(found.total_pages, 1)}`);
    showResults(grid, found.results, { signal });
    fill(pages, pagination(found, query));
    fill(facets, facetGroups(found, query));
  } catch (error) {
    if (signal.aborted) return;
    status.textContent = "";
    fill(grid);
    fill(pages);
    say(problem, `${error.sentence ?? error.message} `, retry());
  } finally {
    if (!signal.aborted) grid.removeAttribute("aria-busy");
  }
}

export const retry = () =>
  el("button", { class: "plain", type: "button", onclick: () => window.dispatchEvent(new Event("hashchange")) }, "Try again");

function buildFrame(main) {
  const wide = matchMedia("(min-width: 860px)");
  const facets = el("details", { class: "facets", open: wide.matches }, el("summary", {}, "Filters"), el("div", { class: "facets-body" }));
  wide.addEventListener("change", () => { facets.open = wide.matches; });
  const frame = el("div", { class: "search" },
    facets,
    el("section", { class: "found", "aria-label": "Search results" },
      el("div", { class: "found-head" }, el("h1", { class: "search-title", tabindex: -1 }), el("p", { class: "search-count muted number" }, "\u00a0")),
      problemLine("search-problem"),
      el("ul", { class: "grid" }, Array.from({ length: 12 }, skeleton)),
      el("nav", { class: "pages", "aria-label": "Pages of results" })));
  fill(main, frame);
  return frame;
}

const skeleton = () => el("li", { class: "card skeleton", "aria-hidden": "true" }, el("span", { class: "picture" }), el("span", { class: "bone" }), el("span", { class: "bone short" }));

function pagination({ page, total_pages: total }, query) {
  if (total < 2) return [];
  const to = (n, text) => {
    const next = new URLSearchParams(query);
    next.set("page", n);
    return n < 1 || n > total ? el("span") : link(`#/search?${next}`, text);
  };
  return [to(page - 1, "Previous page"), el("span", { class: "number" }, `${page} of ${total}`), to(page + 1, "Next page")];
}

function facetGroups({ facets = {} }, query) {
  const is = (name, value) => query.get(name) === String(value);
  const choice = (chosen, on, text, n) =>
    el("li", {}, el("a", { href: chosen ? hash(query, off(on)) : hash(query, on), "aria-current": chosen ? "true" : null },
      el("span", {}, text), el("span", { class: "muted number" }, n?.toLocaleString("en-US") ?? "")));
  const off = (on) => Object.fromEntries(Object.keys(on).map((name) => [name, null]));
  const group = (title, items) => items.length > 0 && el("section", {}, el("h2", {}, title), el("ul", {}, items));
  const brands = facets.brand_counts ?? (facets.brands ?? []).map((name) => ({ name }));
  const isFiltered = FILTERS.some((name) => query.has(name));
  return [
    isFiltered && link(hash(query, { category: null, brand: null, min_price: null, max_price: null }), "Clear all filters", "clear"),
    group("Category", (facets.categories ?? []).slice(0, CHOICES_SHOWN_MAX).map((c) =>
      choice(is("category", c.name), { category: c.name }, c.name, c.count))),
    group("Price", (facets.price_buckets ?? []).filter((b) => b.count > 0).map((b) => {
      const on = { min_price: b.min ?? null, max_price: b.max ?? null };
      const chosen = (query.get("min_price") ?? "") === String(b.min ?? "") && (query.get("max_price") ?? "") === String(b.max ?? "");
      return choice(chosen && isFiltered, on, b.label, b.count);
    })),
    priceForm(query),
    group("Brand", brands.slice(0, CHOICES_SHOWN_MAX).map((b) => choice(is("brand", b.name), { brand: b.name }, b.name, b.count))),
  ];
}

function priceForm(query) {
  const field = (name, label) => el("label", {}, el("span", { class: "unseen" }, label),
    el("input", { name, type: "number", min: 0, step: "any", inputmode: "decimal", placeholder: label, value: query.get(name) }));
  return el("form", {
    class: "price-form", "aria-label": "Price range",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = hash(query, Object.fromEntries(new FormData(event.target)));
    },
  }, field("min_price", "Min"), field("max_price", "Max"), el("button", { type: "submit", class: "quiet" }, "Go"));
}

/** The product page: one variant chosen by its options, what is left of it, and the way to the cart. */
export async function productView(main, { id, signal }) {
  const problem = problemLine("product-problem");
  fill(main, el("div", { class: "product" }, el("span", { class: "picture" }), el("div", { class: "product-text" }, problem)));
  let product;
  try {
    product = await call("GET", `/products/${encodeURIComponent(id)}`, { signal, onWait: waiting(problem) });
  } catch (error) {
    if (signal.aborted) return;
    const gone = ["not_found", "validation"].includes(error.kind);
    say(problem, gone ? "This product is not sold here (any more). " : `${error.sentence ?? error.message} `, gone ? link("#/search", "Look for another") : retry());
    return;
  }
  if (signal.aborted) return;
  document.title = `${product.name} · Doorbuster`;
  const buy = buyForm(product, signal);
  fill(main,
    el("nav", { class: "crumbs", "aria-label": "Where you are" },
      link("#/search", "Shop"), product.category && link(hash("", { category: product.category }), product.category)),
    el("article", { class: "product" },
      picture(product.product_id, { path: product.picture, eager: true }),
      el("div", { class: "product-text" },
        el("div", {},
          el("p", { class: "muted small" }, product.seller?.name ?? ""),
          el("h1", { tabindex: -1 }, product.name)),
        buy,
        el("p", { class: "description" }, product.description ?? ""))));
}

function buyForm(product, signal) {
  const price = el("p", { class: "price number" });
  const stock = el("p", { class: "stock" });
  const quantity = el("input", { id: "quantity", name: "quantity", type: "number", min: 1, max: QUANTITY_MAX, value: 1, required: true, inputmode: "numeric" });
  const button = el("button", { type: "submit", class: "button" }, "Add to cart");
  const problem = problemLine("add-problem");
  const added = el("p", { class: "added", role: "status" });
  const chosen = { ...(product.variants.find((v) => v.available > 0) ?? product.variants[0])?.attributes };
  const fits = (variant, wanted = chosen) => Object.entries(wanted).every(([name, value]) => variant.attributes[name] === value);
  const current = () => product.variants.find((v) => fits(v));
  const groups = Object.entries(product.options ?? {}).map(([name, values], index) => el("fieldset", { class: "choices" },
    el("legend", {}, name),
    values.map((value) => el("label", { class: "chip", "data-name": name, "data-value": value },
      el("input", { type: "radio", name: `option-${index}`, value, checked: chosen[name] === value, onchange: () => { chosen[name] = value; choose(); } }),
      el("span", {}, value)))));

  let isSending = false;

  function show() {
    const variant = current();
    const left = variant?.available ?? 0;
    // Struck through: what could not be bought with the other options as they are chosen now.
    for (const { classList, dataset: { name, value } } of form.querySelectorAll(".chip")) {
      classList.toggle("gone", !product.variants.some((v) => v.available > 0 && fits(v, { ...chosen, [name]: value })));
    }
    price.textContent = money(variant?.price ?? product.price, product.currency);
    const { level, text } = stockWords(left);
    stock.className = `stock ${level}`;
    stock.textContent = variant ? text : "Not made in this combination";
    button.disabled = left === 0 || isSending;
    quantity.disabled = left === 0;
  }

  function choose() {
    show();
    say(problem);
    announce(stock.textContent);
  }

  function take(numbers) {
    const before = stock.className;
    for (const { variant_id: id, available } of numbers) {
      const variant = product.variants.find((v) => v.variant_id === id);
      if (variant) variant.available = available;
    }
    show();
    // In a rush the number changes ten times a second: only what changes the picture is read out.
    if (stock.className !== before) announce(stock.textContent);
  }

  async function submit(event) {
    event.preventDefault();
    const variant = current();
    isSending = true;
    button.disabled = true;
    fill(added);
    say(problem);
    try {
      const cart = await addToCart(
        { product_id: product.product_id, variant_id: variant.variant_id, quantity: quantity.valueAsNumber },
        { signal, onWait: waiting(problem) });
      say(problem);
      const line = cart.items.find((item) => item.variant_id === variant.variant_id);
      const start = cart.isNewCart ? "Your earlier cart had expired, so this is a new one. " : "";
      added.append(`${start}${line?.quantity ?? quantity.value} in your cart. `, link("#/cart", "Go to cart"));
    } catch (error) {
      if (signal.aborted) return;
      if (error.kind === "out_of_stock" && Number.isInteger(error.document.available)) variant.available = error.document.available;
      show();
      say(problem, error.sentence ?? error.message);
    } finally {
      isSending = false;
      button.disabled = (current()?.available ?? 0) === 0;
    }
  }

  const form = el("form", { class: "buy", onsubmit: submit }, price, stock, groups,
    el("div", { class: "buy-row" }, el("label", { for: "quantity" }, "Quantity"), quantity, button), problem, added);
  show();
  watch([product.product_id], take, { signal });
  return form;
}
