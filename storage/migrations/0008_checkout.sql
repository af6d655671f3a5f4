-- Orders that wait, payments in several parts, refunds, webhooks, saved means of payment, leases.

ALTER TYPE order_status ADD VALUE 'in_review' AFTER 'pending';
ALTER TYPE order_status ADD VALUE 'accepted' AFTER 'in_review';
ALTER TYPE order_status ADD VALUE 'awaiting_payment' AFTER 'accepted';
ALTER TYPE payment_status ADD VALUE 'requires_action' AFTER 'created';
ALTER TYPE payment_status ADD VALUE 'processing' AFTER 'requires_action';

-- waits_until is there exactly while an order waits for its buyer, a bank or an operator, or
-- after that for being charged.
ALTER TABLE orders
    ADD COLUMN waits_until  timestamptz,
    ADD COLUMN looked_at    timestamptz,
    ADD COLUMN reviewed_at  timestamptz,
    ADD COLUMN reviewed_by  text,
    ADD COLUMN review_note  text,
    ADD CONSTRAINT order_waits_until CHECK
        ((status::text IN ('in_review', 'accepted', 'awaiting_payment')) = (waits_until IS NOT NULL)),
    ADD CONSTRAINT order_reviewed_says_by_whom CHECK
        ((reviewed_at IS NOT NULL) = (reviewed_by IS NOT NULL));
CREATE INDEX orders_waiting ON orders (waits_until) WHERE waits_until IS NOT NULL;

-- What each line has of the order's discount and tax; unknown for orders from before.
ALTER TABLE order_items
    ADD COLUMN discount_minor bigint NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
    ADD COLUMN tax_minor      bigint CHECK (tax_minor >= 0);

-- One row per means of payment; refunded_minor counts what was asked back, before it is done.
ALTER TABLE payments
    ADD COLUMN part           smallint NOT NULL DEFAULT 1 CHECK (part > 0),
    ADD COLUMN customer       text,
    ADD COLUMN return_url     text,
    ADD COLUMN next_action    jsonb,
    ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT never_refunded_above_what_was_taken
        CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    ADD CONSTRAINT one_payment_per_part UNIQUE (order_id, part);
DROP INDEX payments_order;

CREATE TABLE refunds (
    refund_id        uuid PRIMARY KEY,
    order_id         uuid NOT NULL REFERENCES orders (order_id),
    amount_minor     bigint NOT NULL CHECK (amount_minor > 0),
    currency         char(3) NOT NULL,
    reason           text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    requested_by     text NOT NULL,
    idempotency_key  text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request_hash     bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    done_at          timestamptz,
    CONSTRAINT one_refund_per_idempotency_key UNIQUE (order_id, idempotency_key)
);
CREATE INDEX refunds_open ON refunds (created_at) WHERE done_at IS NULL;

CREATE TABLE refund_lines (
    refund_id     uuid NOT NULL REFERENCES refunds (refund_id),
    line          smallint NOT NULL CHECK (line > 0),
    quantity      int NOT NULL CHECK (quantity > 0),
    amount_minor  bigint NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (refund_id, line)
);

-- Back to where it came from: a part of each payment.
CREATE TABLE refund_parts (
    refund_id     uuid NOT NULL REFERENCES refunds (refund_id),
    payment_id    uuid NOT NULL REFERENCES payments (payment_id),
    amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
    done_at       timestamptz,
    PRIMARY KEY (refund_id, payment_id)
);
CREATE INDEX refund_parts_payment ON refund_parts (payment_id);

-- A provider's webhooks, each handled once however often and in whatever order they come.
CREATE TABLE payment_events (
    gateway         text NOT NULL,
    event_id        text NOT NULL,
    type            text NOT NULL,
    transaction_id  text,
    received_at     timestamptz NOT NULL DEFAULT now(),
    handled_at      timestamptz,
    PRIMARY KEY (gateway, event_id)
);
CREATE INDEX payment_events_unhandled ON payment_events (received_at) WHERE handled_at IS NULL;

-- A provider's names for means of payment: never a card number.
CREATE TABLE payment_methods (
    method_id     uuid PRIMARY KEY,
    user_id       uuid NOT NULL,
    type          varchar(20) NOT NULL,
    gateway       varchar(50) NOT NULL,
    token         varchar(255) NOT NULL,
    customer      varchar(255),
    brand         varchar(40) NOT NULL,
    last_four     varchar(4) NOT NULL,
    expiry_month  int CHECK (expiry_month BETWEEN 1 AND 12),
    expiry_year   int CHECK (expiry_year BETWEEN 2000 AND 2200),
    is_default    boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_method_per_token UNIQUE (user_id, gateway, token)
);
CREATE UNIQUE INDEX one_default_method ON payment_methods (user_id) WHERE is_default;

-- Who does what only one may do at a time.
CREATE TABLE leases (
    name        text PRIMARY KEY,
    holder      text NOT NULL,
    expires_at  timestamptz NOT NULL
);
