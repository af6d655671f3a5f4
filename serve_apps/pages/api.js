// The shop's HTTP API: who the shopper is, one way to call, and what is kept in the browser.

import { sentence, stateOf } from "/assets/words.js";

const TIMEOUT_MS = 10_000;
const CHECKOUT_TIMEOUT_MS = 20_000;
const TRIES_MAX = 4; // the first and three more
const WAIT_S_MAX = 8; // however long the server asks for
const ORDERS_KEPT_MAX = 20;
const ATTEMPT_KEPT_MS = 24 * 3600 * 1000; // as long as the server keeps a key

// Storage may be forbidden (private windows); the shop then works for as long as the page is open.
const memory = new Map();
function read(name, area = "localStorage") {
  try {
    return window[area].getItem(`doorbuster.${name}`);
  } catch {
    return memory.get(name) ?? null;
  }
}
function write(name, value, area = "localStorage") {
  try {
    if (value === null) window[area].removeItem(`doorbuster.${name}`);
    else window[area].setItem(`doorbuster.${name}`, value);
  } catch {
    memory.set(name, value);
  }
}
function readJson(name, area) {
  try {
    return JSON.parse(read(name, area));
  } catch {
    return null;
  }
}

/** What one tab keeps until it is closed: the form as it was filled in, coupons, the order that waits. */
export const tab = {
  get: (name) => readJson(name, "sessionStorage"),
  set: (name, value) => write(name, value === null ? null : JSON.stringify(value), "sessionStorage"),
};

export const guest = {
  get token() { return read("token"); },
  get cartId() { return read("cart_id"); },
  get itemCount() { return Number(read("item_count")) || 0; },
  /** The server no longer knows this token: forget it and all that hangs on it. */
  forget() {
    for (const name of ["token", "cart_id", "item_count", "attempt"]) write(name, null);
    showCount();
  },
  cartEmptied() {
    write("item_count", null);
    showCount();
  },
};

export const orders = {
  all: () => readJson("orders") ?? [],
  add(order) {
    const others = orders.all().filter((one) => one.order_id !== order.order_id);
    write("orders", JSON.stringify([order, ...others].slice(0, ORDERS_KEPT_MAX)));
  },
  /** What became of an order that was placed here. */
  note(order) {
    const kept = orders.all();
    const status = stateOf(order);
    const known = kept.find((one) => one.order_id === order.order_id);
    if (!known || known.status === status) return;
    known.status = status;
    write("orders", JSON.stringify(kept));
  },
};

export function showCount() {
  const badge = document.getElementById("cart-count");
  badge.dataset.count = guest.itemCount;
  badge.textContent = guest.itemCount || "";
}

function keepCart(cart) {
  if (cart.token) write("token", cart.token);
  if (cart.cart_id) write("cart_id", cart.cart_id);
  write("item_count", String(cart.item_count ?? 0));
  showCount();
  return cart;
}

/** What the API refused (or never answered), with the fields of its problem document. */
export class Problem extends Error {
  constructor(kind, document = {}, status = 0) {
    super(document.detail || document.title || kind);
    this.kind = kind;
    this.status = status;
    this.document = document;
  }
  /** Whether the request may have been carried out all the same. */
  get isUncertain() {
    return ["offline", "idempotency_key_in_flight"].includes(this.kind)
      || (this.status >= 500 && !this.isBusy);
  }
  get isBusy() {
    return this.kind === "busy" || this.kind === "not_ready" || (this.status === 429 && this.kind !== "too_many_attempts");
  }
  get sentence() { return sentence(this); }
}

async function once(method, path, { body, headers, signal, timeout }) {
  const limit = AbortSignal.timeout(timeout);
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers: {
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(guest.token ? { Authorization: `Bearer ${guest.token}` } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    const text = await response.text();
    answer = text ? JSON.parse(text) : {};
  } catch (error) {
    if (signal?.aborted) throw error;
    // A body that is no JSON comes from something between us and the shop.
    throw new Problem(response && !response.ok && response.status < 500 ? "unknown" : "offline", {}, response?.status);
  }
  if (response.ok) return answer;
  const kind = String(answer.type ?? "").split("/").pop() || "unknown";
  const asked = Number(answer.retry_after ?? response.headers.get("Retry-After"));
  throw new Problem(kind, { ...answer, retry_after: asked || 1 }, response.status);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

/**
 * Call the API. Busy is waited out as the server asks, a bounded number of times; `onWait` is told
 * (seconds, try). A lost answer is only asked for again where a repeat is harmless (`repeatable`).
 */
export async function call(method, path, options = {}) {
  const { signal, onWait, repeatable = method === "GET", timeout = TIMEOUT_MS } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once(method, path, { ...options, timeout });
    } catch (problem) {
      const again = problem.isBusy || (repeatable && problem.isUncertain);
      if (!(problem instanceof Problem) || !again || attempt >= TRIES_MAX) throw problem;
      const seconds = Math.min(problem.document.retry_after || attempt, WAIT_S_MAX);
      onWait?.(seconds, attempt, problem);
      await pause(seconds, signal);
    }
  }
}

export const waiting = (line) => (seconds, attempt, problem) => {
  line.hidden = false;
  const why = problem.isBusy ? "The shop is very busy." : "No answer yet.";
  line.textContent = `${why} Trying again in ${seconds} s (${attempt} of ${TRIES_MAX - 1}).`;
};

/** Add to the cart; a token that is not known any more is replaced by a new guest, once. */
export async function addToCart(item, options = {}) {
  const send = () => call("POST", "/cart/items", { body: item, ...options });
  try {
    return keepCart(await send());
  } catch (problem) {
    if (problem.kind !== "unauthorized" || !guest.token) throw problem;
    guest.forget();
    return { ...keepCart(await send()), isNewCart: true };
  }
}

export async function getCart(options) {
  if (!guest.token) return { items: [], total: 0, item_count: 0 };
  return keepCart(await call("GET", "/cart", options));
}

export async function setQuantity(variantId, quantity, options) {
  const path = `/cart/items/${encodeURIComponent(variantId)}`;
  const given = { repeatable: true, ...options };
  return keepCart(quantity === 0
    ? await call("DELETE", path, given)
    : await call("PATCH", path, { body: { quantity }, ...given }));
}

/** What the cart would cost. Nothing is held by it, so a repeat is harmless. */
export const getQuote = (body, options) => call("POST", "/orders/quote", { body, repeatable: true, ...options });

/** Store credit, terms and open invoices of this shopper. */
export const getCredit = (options) => call("GET", "/credit", options);

/** The means of payment that this shopper has saved. */
export const getMethods = (options) => call("GET", "/orders/payment-methods", options);

export const getCardBalance = (code, options) => call("POST", "/gift-cards/balance", { body: { code }, ...options });

let canResume = true; // until the shop says that it has no such thing

/** An order; `settle` has the shop ask the payment provider about it first. */
export async function getOrder(id, { settle = false, ...options } = {}) {
  const path = `/orders/${encodeURIComponent(id)}`;
  let isMissing = false;
  if (settle && canResume) {
    try {
      return await call("POST", `${path}/resume`, { repeatable: true, ...options });
    } catch (problem) {
      if (![404, 405].includes(problem.status)) throw problem;
      isMissing = true;
    }
  }
  const order = await call("GET", path, options);
  if (isMissing) canResume = false;
  return order;
}

/**
 * One checkout attempt: a key made once, kept with its body until a definite answer comes, so that
 * a retry, a reload or a second click asks about the same order and can never place another.
 */
export const attempts = {
  pending() {
    const kept = readJson("attempt");
    return kept?.uncertain && Date.now() - kept.at < ATTEMPT_KEPT_MS ? kept : null;
  },
  async send(body, options = {}) {
    const kept = readJson("attempt");
    const isSame = kept && JSON.stringify(kept.body) === JSON.stringify(body);
    const attempt = isSame ? kept : { key: newKey(), body, at: Date.now(), uncertain: false };
    // From here on the outcome is unknown until answered, a closed tab included.
    write("attempt", JSON.stringify({ ...attempt, uncertain: true }));
    const onWait = (seconds, tries, problem) => {
      attempt.uncertain ||= problem.isUncertain;
      options.onWait?.(seconds, tries, problem);
    };
    try {
      const order = await call("POST", "/orders/checkout", {
        body, headers: { "Idempotency-Key": attempt.key }, repeatable: true, timeout: CHECKOUT_TIMEOUT_MS, onWait,
      });
      write("attempt", null);
      return order;
    } catch (problem) {
      if (problem instanceof Problem && problem.isBusy) write("attempt", JSON.stringify(attempt));
      else if (problem instanceof Problem && !problem.isUncertain) write("attempt", null);
      throw problem;
    }
  },
};

function newKey() {
  // crypto.randomUUID is missing on plain-http origins other than localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
