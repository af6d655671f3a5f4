-- The simulated provider learns what real ones do: charges that wait for the buyer or a bank,
-- refunds in parts, and the HTTP door's own memory: keys, customers, saved means, events.

ALTER TABLE simulated_provider.charges
    ADD COLUMN kind             text NOT NULL DEFAULT 'card',
    ADD COLUMN return_url       text,
    ADD COLUMN refunded_minor   bigint NOT NULL DEFAULT 0,
    -- Nothing to capture later: the money is taken as soon as the buyer agrees.
    ADD COLUMN captures_at_once boolean NOT NULL DEFAULT false,
    -- What only charges made over HTTP have: their own id, and what was said with them.
    ADD COLUMN intent_id        text,
    ADD COLUMN details          jsonb;
UPDATE simulated_provider.charges SET refunded_minor = amount_minor WHERE status = 'refunded';
ALTER TABLE simulated_provider.charges
    DROP CONSTRAINT charges_status_check,
    ADD CONSTRAINT charge_status_is_known CHECK (status IN
        ('created', 'requires_action', 'processing', 'authorized', 'captured', 'declined',
         'voided', 'refunded')),
    ADD CONSTRAINT charge_gives_back_what_it_took CHECK (refunded_minor BETWEEN 0 AND amount_minor);
CREATE UNIQUE INDEX charges_intent ON simulated_provider.charges (intent_id)
    WHERE intent_id IS NOT NULL;
-- Searches by our own id find every intent that carries it, also one made by mistake.
CREATE INDEX charges_said_id ON simulated_provider.charges ((details #>> '{metadata,transaction_id}'))
    WHERE intent_id IS NOT NULL;
-- For those that look for transfers to settle. Without the status on purpose: a column that an index
-- knows cannot be updated in place, and every capture is such an update.
CREATE INDEX charges_transfers ON simulated_provider.charges (created_at)
    WHERE kind = 'bank_transfer';

-- The caller's own id keeps a repeat from giving money back twice.
CREATE TABLE simulated_provider.refunds (
    transaction_id      text NOT NULL REFERENCES simulated_provider.charges,
    refund_id           text NOT NULL,
    amount_minor        bigint NOT NULL CHECK (amount_minor > 0),
    provider_refund_id  text UNIQUE,
    metadata            jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_id, refund_id)
);

CREATE TABLE simulated_provider.idempotency_keys (
    key           text PRIMARY KEY,
    request_hash  bytea NOT NULL,
    status        smallint NOT NULL,
    body          text NOT NULL,
    created_at    timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_age ON simulated_provider.idempotency_keys (created_at);

CREATE TABLE simulated_provider.customers (
    customer_id  text PRIMARY KEY,
    details      jsonb NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE TABLE simulated_provider.payment_methods (
    method_id    text PRIMARY KEY,
    token        text NOT NULL, -- the test means it stands for
    type         text NOT NULL,
    customer_id  text REFERENCES simulated_provider.customers,
    created_at   timestamptz NOT NULL
);

-- Written with the change they tell of, sent until the other side has taken them.
CREATE TABLE simulated_provider.events (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      text NOT NULL UNIQUE,
    type          text NOT NULL,
    body          text NOT NULL,
    created_at    timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    attempts      int NOT NULL DEFAULT 0,
    delivered_at  timestamptz
);
CREATE INDEX events_due ON simulated_provider.events (due_at) WHERE delivered_at IS NULL;
