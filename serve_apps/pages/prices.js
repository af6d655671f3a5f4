// What the order costs: the quote beside the form, each of its lines explained, and the coupons.

import { getQuote, tab, waiting } from "/assets/api.js";
import { announce, el, fill, link, money, picture, problemLine, say } from "/assets/dom.js";
import { capital } from "/assets/words.js";

const DEBOUNCE_MS = 350;
const COUPONS_MAX = 5;
const COUPON_LENGTH_MAX = 64;
const COUPON_PROBLEMS = ["coupon_refused", "coupon_used_up"];

const steps = (entries, currency) => el("ul", { class: "steps" }, entries.map((step) => el("li", {},
  el("span", {}, capital(step.label), step.code && step.kind === "promotion" && el("code", {}, ` ${step.code}`)),
  step.amount !== 0 && el("span", { class: "number" }, money(step.amount, currency)))));

/** A sum with how it comes about behind it. */
const row = (key, name, amount, entries, currency, cls = "") => el("details", { class: `why ${cls}`, "data-key": key },
  el("summary", {}, el("span", {}, name), el("span", { class: "number" }, amount)),
  steps(entries, currency));

const item = (one, currency) => el("li", {},
  picture(one.product_id, { side: 64 }),
  el("div", { class: "line-text" },
    el("span", { class: "line-name" }, one.name),
    el("span", { class: "muted small number" }, `${one.quantity} × ${money(one.price, currency)}`),
    one.explanation && el("details", { class: "why", "data-key": one.variant_id },
      el("summary", { "aria-label": `How the price of ${one.name} comes about` }, "Price in steps"),
      steps(one.explanation, currency))),
  el("span", { class: "line-sum number" }, money(one.subtotal, currency)));

function sums(quote, { needsState }) {
  const { currency } = quote;
  const of = (...kinds) => quote.explanation.filter((step) => kinds.includes(step.kind));
  return [
    row("items", "Items", money(quote.total, currency), of("goods", "conversion"), currency),
    quote.discount > 0 && row("discount", "Discount", money(-quote.discount, currency), of("promotion"), currency, "good"),
    row("shipping", "Shipping", money(quote.shipping, currency), quote.shipping_explanation, currency),
    needsState ? el("p", { class: "why plain-row" }, el("span", {}, "Tax"), el("span", { class: "muted" }, "once you choose the state"))
      : row("tax", "Tax", money(quote.tax, currency), of("tax", "tax_source").length ? of("tax", "tax_source")
        : [{ kind: "tax", label: "no tax is collected for this place", amount: 0 }], currency),
    row("total", "Total", money(quote.grand_total, currency), quote.explanation, currency, "sum"),
    quote.conversion && el("p", { class: "muted small" }, `1 ${quote.conversion.listed} = ${quote.conversion.rate} ${quote.conversion.charged}, ${quote.conversion.as_of}`),
  ].filter(Boolean);
}

/** Open disclosures stay open, and the focus stays where it was, when the numbers change. */
function replaceKeeping(box, nodes) {
  const open = new Set([...box.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  const focused = box.contains(document.activeElement) && document.activeElement.closest("details")?.dataset.key;
  fill(box, nodes);
  for (const one of box.querySelectorAll("details")) one.open = open.has(one.dataset.key);
  if (focused) [...box.querySelectorAll("details")].find((one) => one.dataset.key === focused)?.firstElementChild.focus();
}

/**
 * The price of the cart, asked for anew whenever `destination()` or the coupons change.
 * `onTotal(quote)` is told each new one.
 */
export function priceDesk(cart, { destination, onTotal, signal }) {
  const lines = el("ul", { class: "lines small-lines" }, cart.items.map((one) => item(one, cart.currency)));
  const box = el("div", { class: "sums" },
    el("p", { class: "why plain-row" }, el("span", {}, "Items"), el("span", { class: "number" }, money(cart.total, cart.currency))),
    el("p", { class: "muted small" }, "Shipping and tax are being worked out."));
  const problem = problemLine("price-problem");
  const node = el("div", { class: "prices" }, lines, box, problem);
  const desk = { node, quote: null, change, settle, drop };
  let coupons = tab.get("coupons") ?? [];
  const coupon = couponPart(desk, { add, remove: (code) => { drop(code); ask(); } });
  node.append(coupon.node);
  coupon.show(coupons, []);
  let timer = null;
  let asked = null; // the body that was asked for last
  let asking = null;
  let stop = null;

  function body() {
    const { needsState: _, ...wanted } = destination();
    return { cart_id: cart.cart_id, ...wanted, coupons };
  }
  const isCurrent = () => desk.quote !== null && asked === JSON.stringify(body()) && asking === null;

  function keep(next) {
    coupons = next;
    tab.set("coupons", next.length ? next : null);
  }

  function drop(code) {
    keep(coupons.filter((one) => one.toUpperCase() !== String(code).toUpperCase()));
    coupon.show(coupons, []);
  }

  function change() {
    if (asked === JSON.stringify(body())) return;
    node.setAttribute("aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(ask, DEBOUNCE_MS);
  }

  function ask() {
    clearTimeout(timer);
    timer = null;
    stop?.abort();
    stop = new AbortController();
    const own = stop;
    node.setAttribute("aria-busy", "true");
    asking = once(AbortSignal.any([signal, own.signal])).finally(() => {
      if (stop !== own) return;
      asking = null;
      node.removeAttribute("aria-busy");
    });
    return asking;
  }

  async function once(current) {
    const wanted = body();
    asked = JSON.stringify(wanted);
    try {
      const quote = await getQuote(wanted, { signal: current, onWait: waiting(problem) });
      if (current.aborted) return;
      say(problem);
      const before = desk.quote?.grand_total;
      desk.quote = quote;
      replaceKeeping(lines, quote.items.map((one) => item(one, quote.currency)));
      replaceKeeping(box, sums(quote, destination()));
      coupon.show(coupons, quote.unused_coupons);
      if (before !== quote.grand_total) announce(`Total ${money(quote.grand_total, quote.currency)}`);
      onTotal(quote);
    } catch (error) {
      if (current.aborted) return;
      asked = null;
      const code = error.document?.coupon;
      if (COUPON_PROBLEMS.includes(error.kind) && coupons.some((one) => one.toUpperCase() === String(code).toUpperCase())) {
        drop(code);
        coupon.refuse(code, error.sentence);
        await once(current);
      } else {
        desk.quote = null;
        say(problem, `${error.sentence ?? error.message} `, error.kind === "cart_empty" || error.kind === "not_found"
          ? link("#/cart", "Look at your cart") : el("button", { type: "button", class: "plain", onclick: ask }, "Work out the total again"));
      }
    }
  }

  function add(code) {
    if (coupons.some((one) => one.toUpperCase() === code.toUpperCase())) return coupon.refuse(code, `${code} is already there.`);
    if (coupons.length >= COUPONS_MAX) return coupon.refuse(code, `An order takes up to ${COUPONS_MAX} coupons.`);
    keep([...coupons, code]);
    coupon.clear();
    return ask();
  }

  /** The quote for what the form says now, or null if there is none to be had. */
  async function settle({ isFresh = false } = {}) {
    if (isFresh || (!isCurrent() && asking === null)) ask();
    if (timer !== null) ask();
    while (asking) await asking;
    return desk.quote;
  }

  return desk;
}

function couponPart(desk, { add, remove }) {
  const problem = problemLine("problem-coupon");
  const list = el("ul", { class: "chips" });
  const send = () => {
    const code = input.value.trim();
    if (code) add(code);
    else refuse("", "Type the code of your coupon first.");
  };
  const input = el("input", {
    id: "coupon", maxlength: COUPON_LENGTH_MAX, autocomplete: "off", autocapitalize: "characters", spellcheck: "false", "aria-describedby": "problem-coupon",
    onkeydown: (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // the order is not placed by it
      send();
    },
  });
  function refuse(code, words) {
    input.value ||= code;
    input.setAttribute("aria-invalid", "true");
    say(problem, words);
    input.focus({ preventScroll: true });
    problem.scrollIntoView({ block: "nearest" }); // it may be said below the edge of what scrolls
  }
  function clear() {
    input.value = "";
    input.removeAttribute("aria-invalid");
    say(problem);
  }
  function show(codes, unused) {
    fill(list, codes.map((code) => {
      const idle = unused.find((one) => one.coupon.toUpperCase() === code.toUpperCase());
      return el("li", {}, el("span", { class: "chip-code" }, el("code", {}, code),
        el("button", { type: "button", class: "plain", "aria-label": `Remove coupon ${code}`, onclick: () => { clear(); remove(code); input.focus(); } }, "Remove")),
      idle && el("span", { class: "muted small" }, capital(idle.detail)));
    }));
  }
  const node = el("div", { class: "coupons" }, el("label", { for: "coupon" }, "Coupon ", el("span", { class: "muted" }, "(optional)")),
    el("div", { class: "pair" }, input, el("button", { type: "button", class: "quiet", onclick: send }, "Add")), problem, list);
  return { node, show, refuse, clear };
}
