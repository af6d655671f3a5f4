// The cards of the search results, and what is left of each product as it changes.

import { announce, count, el, fill, link, money, picture } from "/assets/dom.js";
import { stockWords, watch } from "/assets/live.js";

const EAGER_PICTURES = 6; // the first rows are seen at once
const ANNOUNCE_AFTER_MS = 3_000;
const NAMED_MAX = 3; // of more, only their number is read out

/** Show the results in `grid`, and keep them up to date over one connection until `signal`. */
export function showResults(grid, results, { signal }) {
  if (!results.length) {
    fill(grid, nothingFound());
    return;
  }
  const cards = new Map(results.map((product, index) => [product.product_id, makeCard(product, index < EAGER_PICTURES)]));
  fill(grid, [...cards.values()].map((card) => card.node));
  const crier = makeCrier([...cards.values()], signal);
  watch([...cards.keys()], (numbers) => {
    for (const { product_id: id, variant_id: variant, available } of numbers) cards.get(id)?.units.set(variant, available);
    for (const id of new Set(numbers.map((number) => number.product_id))) if (cards.has(id)) showUnits(cards.get(id));
    crier.changed();
  }, { signal });
}

const nothingFound = () => el("li", { class: "empty" },
  el("h2", {}, "Nothing matches"), el("p", { class: "muted" }, "Try fewer words or another filter."), link("#/search", "Show everything", "button quiet"));

function makeCard(product, eager) {
  const stock = el("span", {});
  const node = el("li", { class: "card" },
    el("a", { href: `#/product/${encodeURIComponent(product.product_id)}` },
      picture(product.product_id, { path: product.thumbnail, eager }),
      el("span", { class: "card-name" }, product.name),
      el("span", { class: "card-price number" }, money(product.price, product.currency)),
      stock,
      el("span", { class: "card-seller" }, product.seller?.name ?? "")));
  const card = { node, stock, name: product.name, units: new Map(), isSoldOut: !product.in_stock };
  // Until the numbers come the search's word stands: whether there is any, not how much.
  showStock(card, product.in_stock ? { level: "in", text: "In stock" } : stockWords(0));
  return card;
}

function showUnits(card) {
  const left = [...card.units.values()].reduce((sum, units) => sum + units, 0);
  card.isSoldOut = left === 0;
  showStock(card, stockWords(left));
}

function showStock({ node, stock }, { level, text }) {
  const name = `card-stock stock ${level}`;
  if (stock.className !== name) stock.className = name;
  if (stock.textContent !== text) stock.textContent = text;
  node.classList.toggle("sold-out", level === "out");
}

/**
 * Reads out what has sold out or come back, in one sentence for a while: in a rush the numbers of
 * a page change ten times a second, and who listens wants to know what can be bought.
 */
function makeCrier(cards, signal) {
  let told = null; // what was sold out when it was last said; nothing is news before the first numbers
  let timer = null;

  const soldOut = () => new Set(cards.filter((card) => card.isSoldOut));
  const say = () => {
    timer = null;
    const now = soldOut();
    const sentences = [
      sentence("Sold out", "sold out", cards.filter((card) => now.has(card) && !told.has(card))),
      sentence("Back in stock", "back in stock", cards.filter((card) => told.has(card) && !now.has(card))),
    ].filter(Boolean);
    told = now;
    if (sentences.length) announce(sentences.join(" "));
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    changed() {
      told ??= soldOut();
      const isNews = cards.some((card) => card.isSoldOut !== told.has(card));
      if (isNews) timer ??= setTimeout(say, ANNOUNCE_AFTER_MS);
    },
  };
}

function sentence(title, words, cards) {
  if (!cards.length) return null;
  if (cards.length > NAMED_MAX) return `${count(cards.length, "product")} ${words}.`;
  return `${title}: ${cards.map((card) => card.name).join(", ")}.`;
}
