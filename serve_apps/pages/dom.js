// Building the page. All text goes in as text nodes: nothing here ever parses HTML.

/** `el("a", {href: "#/cart", class: "button", onclick: f}, "Cart")` makes one element. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter(Boolean));
  return node;
}

/** Tell screen readers; the same sentence twice in a row is still read. */
export function announce(text) {
  const live = document.getElementById("announce");
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** An amount as the API gives it (a number of major units) with its currency. */
export function money(amount, currency) {
  try {
    return new Intl.NumberFormat("en-US", { style: "currency", currency: currency || "USD" }).format(amount);
  } catch {
    return `${Number(amount).toFixed(2)} ${currency}`;
  }
}

/** How many decimals amounts of a currency have. */
export function decimals(currency) {
  try {
    return new Intl.NumberFormat("en-US", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  } catch {
    return 2;
  }
}

/** A day with its weekday, and with its year unless that is this one. */
export function day(text) {
  // A bare date is a calendar day, not an instant: shown without moving it between time zones.
  const when = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text);
  return Number.isNaN(when.getTime())
    ? text
    : when.toLocaleDateString("en-US", {
      weekday: "long", month: "long", day: "numeric",
      ...(when.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" }),
    });
}

export function moment(text) {
  const when = new Date(text);
  return Number.isNaN(when.getTime())
    ? text
    : when.toLocaleString("en-US", { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
}

export const count = (n, one, many = `${one}s`) => `${Number(n).toLocaleString("en-US")} ${n === 1 ? one : many}`;

/** A product's picture; always square, so that nothing moves when it arrives. */
export function picture(productId, { path = null, eager = false, side = 480 } = {}) {
  const own = path && /^\/(?!\/)/.test(path) ? path : `/media/${encodeURIComponent(productId)}.svg`;
  const image = el("img", {
    src: own, alt: "", width: side, height: side, loading: eager ? null : "lazy", decoding: "async",
    onerror: () => image.classList.add("missing"),
  });
  return el("span", { class: "picture" }, image);
}

/** Where something went wrong, said beside it; empty until then. */
export function problemLine(id) {
  return el("p", { class: "problem", id, role: "alert", hidden: true });
}

export function say(line, ...content) {
  line.hidden = content.length === 0;
  fill(line, ...content.map((part) => (typeof part === "string" ? document.createTextNode(part) : part)));
}

export const link = (href, text, cls = null) => el("a", { href, class: cls }, text);

/** One choice of several, as a label around its radio button. */
export const radio = (name, [value, text, detail], checked) => el("label", { class: "radio" },
  el("input", { type: "radio", name, value, checked }),
  el("span", {}, el("strong", {}, text), el("span", { class: "muted small" }, detail)));
