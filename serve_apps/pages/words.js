// Words for people: what a problem means, and what became of an order.

const DECLINES = {
  insufficient_funds: "The card does not have enough funds.",
  expired_card: "The card has expired.",
  card_declined: "The card was declined by its bank.",
  processing_error: "The bank could not process the card just now.",
  authentication_required: "You did not confirm the payment, or your bank could not be sure that it was you.",
  unknown_payment_method: "The payment provider does not know this card.",
  gift_card_unknown: "There is no gift card with this code. Check it for typing errors.",
  gift_card_expired: "The gift card has expired.",
  insufficient_credit: "There is less on it than was to be paid with it.",
  invoice_not_approved: "You cannot pay on invoice (yet).",
  credit_limit_exceeded: "With this order your open invoices would come to more than your limit.",
  wrong_currency: "It is in another currency than the order.",
  transfer_failed: "The bank refused the transfer.",
  transfer_expired: "The transfer did not come in time.",
  fraudulent: "We looked at the order and could not accept it.",
};

const STATUSES = {
  placed: "Order placed", pending: "Being placed", accepted: "Being paid", awaiting_payment: "Waiting for payment",
  in_review: "Being looked at", confirmed: "Confirmed", processing: "Being packed", shipped: "Shipped",
  delivered: "Delivered", cancelled: "Cancelled", failed: "Not completed", refunded: "Refunded",
  partially_refunded: "Partly refunded",
};

const PAYMENTS = {
  card: "Card", wallet: "Wallet", bank_transfer: "Bank transfer", gift_card: "Gift card", store_credit: "Store credit", invoice: "Invoice",
};
const PAYMENT_STATES = {
  created: "Not paid yet", requires_action: "Waits for you", processing: "On its way", authorized: "Reserved", captured: "Paid",
  declined: "Declined", voided: "Not charged", refunded: "Paid back",
};
const REFUND_STATES = { pending: "On its way back to you", done: "Paid back" };

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const statusWord = (status) => STATUSES[status] ?? capital(String(status).replaceAll("_", " "));

/** An order's state for people: one whose money went back in full is refunded. */
export function stateOf({ status, payments = [] }) {
  const isRefunded = status === "confirmed" && payments.length > 0 && payments.every((one) => one.status === "refunded");
  return isRefunded ? "refunded" : status;
}

/** What a part of a payment is called. */
export function paymentName({ type, last_four: digits, invoice }) {
  if (invoice) return `Invoice ${invoice.number}`;
  return `${PAYMENTS[type] ?? capital(String(type).replaceAll("_", " "))}${digits ? ` ending ${digits}` : ""}`;
}

export const paymentWord = (status) => PAYMENT_STATES[status] ?? capital(String(status).replaceAll("_", " "));
export const refundWord = (status) => REFUND_STATES[status] ?? statusWord(status);

/** The shop's own words, as a sentence. */
const said = (text) => (/[.!?]$/.test(text) ? capital(text) : `${capital(text)}.`);

/** What a problem document means: `kind` is the end of its type, `message` what it says itself. */
export function sentence({ kind, document: d, message }) {
  switch (kind) {
    case "out_of_stock":
      return d.available > 0
        ? `Only ${d.available} left, and you asked for ${d.requested ?? "more"}.`
        : "Sold out: the last one has just gone.";
    case "payment_declined":
      return `${DECLINES[d.decline_code] ?? "The payment was declined."} Nothing was charged. Choose another way to pay.`;
    case "payment_expired": return "The payment did not come in time, so we gave your items back. Nothing was charged.";
    case "checkout_interrupted": return "Something went wrong halfway, and the order was undone. Nothing was charged. Please place it again.";
    case "cart_empty": return "Your cart is empty, so there is nothing to order yet.";
    case "hold_expired":
      return "We could not hold your items any longer. Nothing was charged. Please place the order again.";
    case "busy": return "The shop is very busy right now. Please try again in a moment.";
    case "not_ready": return "The shop is just opening. Please try again in a moment.";
    case "unauthorized": return "Your earlier visit has expired.";
    case "not_found": return "We could not find that.";
    case "idempotency_key_in_flight": return "Your order is still being worked on.";
    case "idempotency_key_reused": return "Your order changed while it was being placed. Please place it again.";
    case "too_large": return "That is more text than we can take. Please shorten it.";
    case "card_number_refused": return "That looks like a card number. Please never type one here.";
    case "coupon_refused":
    case "coupon_used_up":
    case "limit_exceeded": return said(message);
    case "too_many_attempts": {
      const minutes = Math.ceil((d.retry_after || 60) / 60);
      return `You have asked about many codes. Please try again in ${minutes} ${minutes === 1 ? "minute" : "minutes"}.`;
    }
    case "offline": return "The shop cannot be reached. Check your connection and try again.";
    case "internal": return "Something went wrong on our side. Please try again.";
    default: return message;
  }
}

/** Why an order failed, from its `failure`. */
export function failureWords(failure) {
  const kind = String(failure?.type ?? "").split("/").pop();
  return sentence({ kind, document: failure ?? {}, message: failure?.detail ? said(failure.detail) : "The order was not completed." });
}

const REASONS = {
  payment_declined: "The payment was declined.",
  payment_expired: "The payment did not come in time.",
  hold_expired: "The items could not be held any longer.",
  checkout_interrupted: "Something went wrong halfway, and the order was undone.",
};

/** The same for operators, who need not be told what to do next. */
export function failureReason(failure) {
  const kind = String(failure?.type ?? "").split("/").pop();
  return DECLINES[failure?.decline_code] ?? REASONS[kind] ?? (failure?.detail ? said(failure.detail) : "It is not known why.");
}
