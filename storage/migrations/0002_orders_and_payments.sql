-- Orders, payments, the outbox, and the books of the simulated payment provider.

CREATE TYPE order_status AS ENUM
    ('pending', 'confirmed', 'failed', 'processing', 'shipped', 'delivered', 'cancelled');

CREATE TABLE orders (
    order_id          uuid PRIMARY KEY,
    user_id           uuid NOT NULL,
    cart_id           uuid NOT NULL,
    idempotency_key   text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request_hash      bytea NOT NULL,
    status            order_status NOT NULL DEFAULT 'pending',
    subtotal_minor    bigint NOT NULL CHECK (subtotal_minor >= 0),
    tax_minor         bigint NOT NULL CHECK (tax_minor >= 0),
    shipping_minor    bigint NOT NULL CHECK (shipping_minor >= 0),
    discount_minor    bigint NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
    total_minor       bigint NOT NULL,
    currency          char(3) NOT NULL,
    payment_method    varchar(50) NOT NULL,
    shipping_method   varchar(50) NOT NULL,
    shipping_address  jsonb NOT NULL,
    billing_address   jsonb,
    estimated_delivery date NOT NULL,
    fraud_score       real,
    fraud_action      text CHECK (fraud_action IN ('approve', 'review', 'decline')),
    fraud_flags       text[] NOT NULL DEFAULT '{}',
    failure           jsonb,
    created_at        timestamptz NOT NULL DEFAULT now(),
    confirmed_at      timestamptz,
    failed_at         timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_order_per_idempotency_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT order_adds_up
        CHECK (total_minor = subtotal_minor + tax_minor + shipping_minor - discount_minor),
    CONSTRAINT order_confirmed_has_time CHECK
        ((status NOT IN ('confirmed', 'processing', 'shipped', 'delivered')) OR confirmed_at IS NOT NULL),
    CONSTRAINT order_failed_says_why CHECK
        ((status = 'failed') = (failed_at IS NOT NULL) AND (status = 'failed') = (failure IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX orders_user ON orders (user_id, created_at);
CREATE INDEX orders_pending ON orders (created_at) WHERE status = 'pending';

CREATE TABLE order_items (
    order_id          uuid NOT NULL REFERENCES orders (order_id),
    line              smallint NOT NULL CHECK (line > 0),
    product_id        uuid NOT NULL,
    variant_id        uuid NOT NULL,
    name              text NOT NULL,
    quantity          int NOT NULL CHECK (quantity > 0),
    unit_price_minor  bigint NOT NULL CHECK (unit_price_minor >= 0),
    subtotal_minor    bigint NOT NULL,
    PRIMARY KEY (order_id, line),
    CONSTRAINT item_adds_up CHECK (subtotal_minor = quantity * unit_price_minor)
);

-- transaction_id is our own name for the charge, given to the provider as its idempotency
-- key and written down before the first call: whatever happens, the charge can be found.
CREATE TYPE payment_status AS ENUM
    ('created', 'authorized', 'captured', 'declined', 'voided', 'refunded');

CREATE TABLE payments (
    payment_id        uuid PRIMARY KEY,
    order_id          uuid NOT NULL REFERENCES orders (order_id),
    transaction_id    varchar(255) NOT NULL UNIQUE,
    amount_minor      bigint NOT NULL CHECK (amount_minor >= 0),
    currency          char(3) NOT NULL,
    status            payment_status NOT NULL DEFAULT 'created',
    payment_method    varchar(50) NOT NULL,
    payment_token     text NOT NULL,
    gateway           varchar(50) NOT NULL,
    gateway_response  jsonb,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE INDEX payments_order ON payments (order_id);

-- Events written with the change they tell of; the relay takes them to the event bus.
CREATE TABLE outbox (
    event_id      uuid PRIMARY KEY,
    type          text NOT NULL,
    subject       uuid NOT NULL,
    data          jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    published_at  timestamptz
) WITH (fillfactor = 80);
CREATE INDEX outbox_unpublished ON outbox (event_id) WHERE published_at IS NULL;
CREATE INDEX outbox_subject ON outbox (subject);

-- The simulated payment provider keeps its books in a schema of its own, which nothing
-- but the provider itself reads or writes.
CREATE SCHEMA simulated_provider;
CREATE TABLE simulated_provider.charges (
    transaction_id  text PRIMARY KEY,
    amount_minor    bigint NOT NULL,
    currency        char(3) NOT NULL,
    status          text NOT NULL CHECK (status IN ('authorized', 'captured', 'declined', 'voided', 'refunded')),
    decline_code    text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
