// After buying: one order with its progress, and the orders placed from this browser.

import { addToCart, getOrder, guest, orders, tab, waiting } from "/assets/api.js";
import { retry } from "/assets/catalog.js";
import { creditPanel } from "/assets/credit.js";
import { announce, day, el, fill, link, moment, money, picture, problemLine, say } from "/assets/dom.js";
import { follow, isWaiting, waitingPart, waitingWords } from "/assets/following.js";
import { failureWords, paymentName, paymentWord, refundWord, stateOf, statusWord } from "/assets/words.js";

const OVER = ["failed", "cancelled"];
const LOOKED_AT_MAX = 10; // when the list is opened, one after the other

/** Items, discount, shipping, tax and the sum, as far as the answer has them. */
function totals(order) {
  const row = (name, amount, cls = "") => amount !== undefined && amount !== null && [
    el("dt", { class: cls }, name), el("dd", { class: `number ${cls}` }, money(amount, order.currency)),
  ];
  return el("dl", { class: "totals" }, [
    row("Items", order.total), order.discount > 0 && row("Discount", -order.discount, "good"),
    row("Shipping", order.shipping), row("Tax", order.tax), row("Total", order.grand_total, "sum"),
  ].flat().filter(Boolean));
}

export async function orderView(main, { id, query, signal }) {
  const problem = problemLine("order-problem");
  const isBack = query.has("back");
  fill(main, el("h1", { tabindex: -1 }, isBack ? "We are asking about your payment" : "Your order"), problem);
  let order;
  try {
    order = await getOrder(id, { settle: isBack, signal, onWait: waiting(problem) });
  } catch (error) {
    if (signal.aborted) return;
    const isForeign = ["unauthorized", "not_found", "validation"].includes(error.kind);
    if (isForeign) say(problem, "This order cannot be shown here. Orders open in the browser that placed them. ", link("#/search", "Back to the shop"));
    else say(problem, `${error.sentence ?? error.message} `, retry());
    return;
  }
  if (signal.aborted) return;
  const about = { isNew: query.has("placed"), isBack, problem, signal };
  showOrder(main, order, about);
  const show = (next) => {
    showOrder(main, next, { ...about, isNew: true });
    main.querySelector("h1").focus({ preventScroll: true });
    announce(main.querySelector("h1").textContent);
  };
  follow(order, { signal, show, problem });
}

function title(order, { isNew, isBack }) {
  if (isWaiting(order)) return waitingWords(order, isBack)[0];
  if (OVER.includes(order.status)) return "Your order was not completed";
  return isNew || isBack ? "Thank you. Your order is in." : "Your order";
}

function showOrder(main, order, about) {
  say(about.problem);
  orders.note(order);
  const isOver = OVER.includes(order.status);
  const isRefunded = stateOf(order) === "refunded";
  if (!isWaiting(order) && tab.get("waiting") === order.order_id) tab.set("waiting", null);
  const isGood = !isWaiting(order) && !isOver && !isRefunded && (about.isNew || about.isBack);
  fill(main, el("div", { class: "order" },
    el("header", { class: `order-head ${isGood ? "thanks" : isOver ? "sorry" : ""}` },
      el("h1", { tabindex: -1 }, title(order, about)),
      el("p", { class: "muted" }, "Order ", el("code", {}, order.order_id)),
      isRefunded && el("p", {}, "It was refunded: all of it has been paid back."),
      !isOver && !isRefunded && !isWaiting(order) && order.estimated_delivery && el("p", { class: "arrives" }, "Arrives by ", el("strong", {}, day(order.estimated_delivery))),
      isOver && el("p", {}, failureWords(order.failure)),
      isOver && orderAgain(order, about)),
    about.problem,
    el("div", { class: "two" },
      el("div", { class: "form-parts" },
        isWaiting(order) && waitingPart(order, about),
        el("section", { class: "panel" }, el("h2", {}, "Progress"), timeline(order), shipment(order.shipment)),
        payments(order), refunds(order)),
      el("section", { class: "panel" }, el("h2", {}, isOver || isWaiting(order) ? "What you ordered" : "What you bought"), el("ul", { class: "lines small-lines" }, order.items.map((item) => el("li", {},
        picture(item.product_id, { side: 64 }),
        el("div", { class: "line-text" }, link(`#/product/${encodeURIComponent(item.product_id)}`, item.name, "line-name"),
          el("span", { class: "muted small number" }, `${item.quantity} × ${money(item.price, order.currency)}`)),
        el("span", { class: "line-sum number" }, money(item.quantity * item.price, order.currency))))), totals(order)))));
}

/** What an order held is back in the shop, not in the cart: one press puts it there again. */
function orderAgain(order, { signal }) {
  const problem = problemLine("again-problem");
  const again = async () => {
    button.disabled = true;
    const missed = [];
    for (const item of order.items) {
      try {
        await addToCart({ product_id: item.product_id, variant_id: item.variant_id, quantity: item.quantity }, { signal, onWait: waiting(problem) });
      } catch (error) {
        if (signal.aborted) return;
        missed.push(`${item.name}: ${error.sentence ?? error.message}`);
      }
    }
    if (missed.length === 0) location.hash = "#/checkout";
    else {
      button.disabled = false;
      say(problem, `${missed.join(" ")} `, link("#/cart", "Look at your cart"));
    }
  };
  const button = el("button", { type: "button", class: "button", onclick: again }, "Try again with these items");
  return el("div", {}, button, problem);
}

function timeline(order) {
  const steps = [...(order.timeline ?? [])];
  if (isWaiting(order) && order.status !== "pending") steps.push({ status: order.status });
  return el("ol", { class: "timeline" }, steps.map((step, index) =>
    el("li", { "aria-current": index === steps.length - 1 && "step", class: step.timestamp ? step.status : "open" },
      el("strong", {}, statusWord(step.status)), step.timestamp && el("time", { class: "muted small", datetime: step.timestamp }, moment(step.timestamp)))));
}

function shipment(parcel) {
  if (!parcel) return null;
  const isSafe = /^https?:\/\//.test(parcel.tracking_url ?? "");
  return el("p", { class: "small" }, `${parcel.carrier ?? "On its way"} `,
    isSafe ? el("a", { href: parcel.tracking_url, rel: "noreferrer" }, parcel.tracking_number ?? "Track it") : parcel.tracking_number ?? "",
    parcel.current_location ? ` · ${parcel.current_location}` : "");
}

/** What a part of the payment has come to; of an invoice until when it is to be paid. */
function paymentState({ status, currency, invoice }) {
  if (!invoice || status !== "captured") return paymentWord(status);
  if (invoice.open <= 0) return "Nothing is open any more";
  return `${money(invoice.open, currency)} open, due ${day(invoice.due_on)}`;
}

/** How it was paid, a part of the payment in each line. */
function payments(order) {
  if (!order.payments?.length) return null;
  return el("section", { class: "panel" }, el("h2", {}, "Payment"), el("ul", { class: "lines payments" }, order.payments.map((one) => el("li", {},
    el("span", { class: "line-text" }, el("strong", {}, paymentName(one)), el("span", { class: "muted small" }, paymentState(one))),
    el("span", { class: "line-sum number" }, money(one.amount, one.currency))))));
}

function refunds(order) {
  if (!order.refunds?.length) return null;
  return el("section", { class: "panel" }, el("h2", {}, "Refunds"), el("ul", { class: "lines refunds" }, order.refunds.map((one) => el("li", {},
    el("span", { class: "line-text" }, el("strong", {}, refundWord(one.status)),
      el("span", { class: "muted small" }, [one.reason, one.created_at && moment(one.created_at)].filter(Boolean).join(" · "))),
    el("span", { class: "line-sum number" }, money(one.amount, one.currency ?? order.currency))))));
}

const keptOrder = (order) => el("li", { "data-order": order.order_id },
  el("span", { class: "line-text" }, link(`#/order/${encodeURIComponent(order.order_id)}`, moment(order.placed_at), "line-name"),
    el("code", { class: "muted small" }, order.order_id),
    order.status && order.status !== "confirmed" && el("span", { class: "small" }, statusWord(order.status))),
  el("strong", { class: "number" }, money(order.grand_total, order.currency)));

/** What has become of the newest orders: most change, and are refunded, long after they were seen. */
async function lookAgain(list, signal) {
  for (const { order_id: id, status } of orders.all().slice(0, LOOKED_AT_MAX)) {
    try {
      orders.note(await getOrder(id, { signal }));
    } catch (error) {
      if (signal.aborted || error.kind !== "not_found") return; // it stays as it was known
    }
    const now = orders.all().find((one) => one.order_id === id);
    const line = [...list.children].find((one) => one.dataset.order === id);
    if (signal.aborted) return;
    if (now && line && now.status !== status) line.replaceWith(keptOrder(now));
  }
}

export function ordersView(main, { signal }) {
  const kept = orders.all();
  const list = el("ul", { class: "panel lines" }, kept.map(keptOrder));
  fill(main, el("h1", { tabindex: -1 }, "Orders"), el("div", { class: "two" },
    kept.length === 0 ? el("div", { class: "empty" }, el("p", {}, "Orders placed from this browser appear here."), link("#/search", "Start shopping", "button")) : list,
    guest.token && creditPanel(signal)));
  if (guest.token && kept.length > 0) lookAgain(list, signal);
}
