// After buying: one order with its timeline, and the orders placed from this browser.

import { call, orders, waiting } from "/assets/api.js";
import { retry } from "/assets/catalog.js";
import { day, el, fill, link, moment, money, picture, problemLine, say } from "/assets/dom.js";

const STATUS_TEXTS = {
  placed: "Order placed", pending: "Being confirmed", confirmed: "Confirmed", processing: "Being packed",
  shipped: "Shipped", delivered: "Delivered", cancelled: "Cancelled", refunded: "Refunded",
};
const word = (status) => STATUS_TEXTS[status] ?? status.replaceAll("_", " ");

/** Subtotal, tax, shipping and the sum, as far as the answer has them. */
export function totals(order) {
  const row = (name, amount, cls) => amount !== undefined && amount !== null && [
    el("dt", { class: cls }, name), el("dd", { class: `number ${cls ?? ""}` }, money(amount, order.currency)),
  ];
  return el("dl", { class: "totals" }, [
    row("Items", order.total), row("Shipping", order.shipping), row("Tax", order.tax), row("Total", order.grand_total, "sum"),
  ].flat().filter(Boolean));
}

export async function orderView(main, { id, query, signal }) {
  const problem = problemLine("order-problem");
  fill(main, el("h1", { tabindex: -1 }, "Your order"), problem);
  let order;
  try {
    order = await call("GET", `/orders/${encodeURIComponent(id)}`, { signal, onWait: waiting(problem) });
  } catch (error) {
    if (signal.aborted) return;
    const isForeign = ["unauthorized", "not_found", "validation"].includes(error.kind);
    if (isForeign) say(problem, "This order cannot be shown here. Orders open in the browser that placed them. ", link("#/search", "Back to the shop"));
    else say(problem, `${error.sentence ?? error.message} `, retry());
    return;
  }
  const isNew = query.has("placed");
  fill(main, el("div", { class: "order" },
    el("header", { class: isNew ? "order-head thanks" : "order-head" },
      el("h1", { tabindex: -1 }, isNew ? "Thank you. Your order is in." : "Your order"),
      el("p", { class: "muted" }, "Order ", el("code", {}, order.order_id)),
      order.estimated_delivery && el("p", { class: "arrives" }, "Arrives by ", el("strong", {}, day(order.estimated_delivery)))),
    el("div", { class: "two" },
      el("section", { class: "panel" }, el("h2", {}, "Progress"), timeline(order), shipment(order.shipment)),
      el("section", { class: "panel" }, el("h2", {}, "What you bought"), el("ul", { class: "lines small-lines" }, order.items.map((item) => el("li", {},
        picture(item.product_id, { side: 64 }),
        el("div", { class: "line-text" }, link(`#/product/${encodeURIComponent(item.product_id)}`, item.name, "line-name"),
          el("span", { class: "muted small number" }, `${item.quantity} × ${money(item.price, order.currency)}`)),
        el("span", { class: "line-sum number" }, money(item.quantity * item.price, order.currency))))), totals(order)))));
}

function timeline(order) {
  return el("ol", { class: "timeline" }, (order.timeline ?? []).map((step, index, all) =>
    el("li", { "aria-current": index === all.length - 1 && "step" },
      el("strong", {}, word(step.status)), el("time", { class: "muted small", datetime: step.timestamp }, moment(step.timestamp)))));
}

function shipment(parcel) {
  if (!parcel) return null;
  const isSafe = /^https?:\/\//.test(parcel.tracking_url ?? "");
  return el("p", { class: "small" }, `${parcel.carrier ?? "On its way"} `,
    isSafe ? el("a", { href: parcel.tracking_url, rel: "noreferrer" }, parcel.tracking_number ?? "Track it") : parcel.tracking_number ?? "",
    parcel.current_location ? ` · ${parcel.current_location}` : "");
}

export function ordersView(main) {
  const kept = orders.all();
  fill(main, el("h1", { tabindex: -1 }, "Orders"),
    kept.length === 0 ? el("div", { class: "empty" }, el("p", {}, "Orders placed from this browser appear here."), link("#/search", "Start shopping", "button"))
      : el("ul", { class: "panel lines" }, kept.map((order) => el("li", {},
        el("span", { class: "line-text" }, link(`#/order/${encodeURIComponent(order.order_id)}`, moment(order.placed_at), "line-name"),
          el("code", { class: "muted small" }, order.order_id)),
        el("strong", { class: "number" }, money(order.grand_total, order.currency))))));
}
