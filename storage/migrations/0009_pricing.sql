-- Promotions and their uses, exchange rates, and what an order keeps of its price.

CREATE TABLE promotions (
    promotion_id           uuid PRIMARY KEY,
    code                   text UNIQUE CHECK (code = upper(code) AND length(code) BETWEEN 1 AND 40),
    label                  text NOT NULL CHECK (length(label) BETWEEN 1 AND 200),
    kind                   text NOT NULL CHECK (kind IN ('percent', 'amount', 'free_shipping', 'buy_x_get_y')),
    percent_bps            int NOT NULL DEFAULT 0 CHECK (percent_bps BETWEEN 0 AND 10000),
    amount_minor           bigint NOT NULL DEFAULT 0 CHECK (amount_minor >= 0),
    buy_quantity           int NOT NULL DEFAULT 0 CHECK (buy_quantity >= 0),
    get_quantity           int NOT NULL DEFAULT 0 CHECK (get_quantity >= 0),
    product_ids            uuid[] NOT NULL DEFAULT '{}',
    variant_ids            uuid[] NOT NULL DEFAULT '{}',
    categories             text[] NOT NULL DEFAULT '{}',
    minimum_minor          bigint NOT NULL DEFAULT 0 CHECK (minimum_minor >= 0),
    currency               char(3),
    starts_at              timestamptz NOT NULL,
    ends_at                timestamptz,
    uses_max               bigint CHECK (uses_max > 0),
    uses_per_customer_max  int CHECK (uses_per_customer_max > 0),
    exclusive              boolean NOT NULL DEFAULT false,
    priority               int NOT NULL DEFAULT 100,
    created_at             timestamptz NOT NULL DEFAULT now(),
    -- As in `products`: who reads along asks for what has changed since its last look.
    changed_xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT promotion_amount_has_currency
        CHECK (currency IS NOT NULL OR (amount_minor = 0 AND minimum_minor = 0)),
    CONSTRAINT promotion_of_a_customer_has_code
        CHECK (uses_per_customer_max IS NULL OR code IS NOT NULL)
);
CREATE INDEX promotions_changed ON promotions (changed_xid);

-- How often each limited promotion is used. Apart from the promotions, because this row is written
-- by every batch of checkouts, and those are read by every replica. The maximum is repeated here
-- so that the constraint can see it.
CREATE TABLE promotion_counters (
    promotion_id  uuid PRIMARY KEY REFERENCES promotions (promotion_id),
    uses          bigint NOT NULL DEFAULT 0,
    uses_max      bigint NOT NULL,
    -- Written only when it becomes full, or is no longer.
    full_xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT promotion_never_overused CHECK (uses BETWEEN 0 AND uses_max)
) WITH (fillfactor = 50);
CREATE INDEX promotion_counters_full ON promotion_counters (full_xid);

-- No foreign key: its check per row would cost as much as the row, and only redeem_promotions
-- makes rows, of promotions that it has just read.
CREATE TABLE promotion_customers (
    promotion_id  uuid NOT NULL,
    user_id       uuid NOT NULL,
    uses          int NOT NULL DEFAULT 0,
    uses_max      int NOT NULL,
    PRIMARY KEY (promotion_id, user_id),
    CONSTRAINT promotion_never_overused_by_customer CHECK (uses BETWEEN 0 AND uses_max)
) WITH (fillfactor = 80);

-- Which order uses what. No foreign keys: a use may be counted a moment before its order is
-- recorded, and promotions are never deleted; redeem_promotions refuses unknown ones.
CREATE TABLE promotion_redemptions (
    order_id      uuid NOT NULL,
    promotion_id  uuid NOT NULL,
    user_id       uuid NOT NULL,
    state         text NOT NULL DEFAULT 'redeemed' CHECK (state IN ('redeemed', 'returned')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- The order stands: nobody needs to look at it again.
    settled_at    timestamptz,
    returned_at   timestamptz,
    PRIMARY KEY (order_id, promotion_id),
    CONSTRAINT redemption_returned_has_time CHECK ((state = 'returned') = (returned_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX promotion_redemptions_open ON promotion_redemptions (created_at)
    WHERE state = 'redeemed' AND settled_at IS NULL;
CREATE INDEX promotion_redemptions_promotion ON promotion_redemptions (promotion_id);

-- Counts the uses of many orders: $1, $2 and $3 are rows of (order, customer, promotion). Each
-- order gets all of its promotions or none; the first in the arrays get what is left.
--
-- Whoever takes locks here takes them in one order, so no two can wait for each other: counters
-- by promotion, then customers by promotion and customer, then redemptions by order and promotion.
CREATE FUNCTION redeem_promotions(orders uuid[], users uuid[], promos uuid[])
RETURNS TABLE (asked_order uuid, outcome text, because uuid)
LANGUAGE plpgsql AS $$
DECLARE
    asked record;
    counters uuid[];
    totals_left bigint[];
    pairs_promotion uuid[];
    pairs_user uuid[];
    customers_left int[];
    granted_orders uuid[] := '{}';
    granted_users uuid[] := '{}';
    granted_promos uuid[] := '{}';
    i int;
BEGIN
    -- FOR UPDATE gives the newest committed row, whatever was committed while it was waited for.
    SELECT array_agg(c.promotion_id), array_agg(c.unused) INTO counters, totals_left
    FROM (
        SELECT k.promotion_id, k.uses_max - k.uses AS unused
        FROM promotion_counters k WHERE k.promotion_id = ANY (promos)
        ORDER BY k.promotion_id FOR UPDATE
    ) c;

    INSERT INTO promotion_customers AS made (promotion_id, user_id, uses_max)
    SELECT DISTINCT p.promotion_id, w.user_id, p.uses_per_customer_max
    FROM unnest(users, promos) AS w (user_id, promotion_id)
    JOIN promotions p USING (promotion_id)
    WHERE p.uses_per_customer_max IS NOT NULL
    ORDER BY p.promotion_id, w.user_id
    ON CONFLICT (promotion_id, user_id) DO NOTHING;

    SELECT array_agg(u.promotion_id), array_agg(u.user_id), array_agg(u.unused)
    INTO pairs_promotion, pairs_user, customers_left
    FROM (
        SELECT k.promotion_id, k.user_id, k.uses_max - k.uses AS unused
        FROM promotion_customers k
        WHERE (k.promotion_id, k.user_id) IN (
            SELECT w.promotion_id, w.user_id
            FROM unnest(users, promos) AS w (user_id, promotion_id))
        ORDER BY k.promotion_id, k.user_id FOR UPDATE
    ) u;

    FOR asked IN
        WITH wanted AS (
            SELECT w.order_id, w.user_id, w.promotion_id, min(w.position) AS position
            FROM unnest(orders, users, promos)
                WITH ORDINALITY AS w (order_id, user_id, promotion_id, position)
            GROUP BY w.order_id, w.user_id, w.promotion_id
        ), slots AS (
            SELECT w.*, p.promotion_id IS NULL AS unknown, r.state,
                   array_position(counters, w.promotion_id) AS counter,
                   k.slot AS customer
            FROM wanted w
            LEFT JOIN promotions p USING (promotion_id)
            LEFT JOIN promotion_redemptions r
                ON r.order_id = w.order_id AND r.promotion_id = w.promotion_id
            LEFT JOIN unnest(pairs_promotion, pairs_user)
                WITH ORDINALITY AS k (promotion_id, user_id, slot)
                ON k.promotion_id = w.promotion_id AND k.user_id = w.user_id
        )
        SELECT s.order_id, min(s.user_id::text)::uuid AS user_id,
               array_agg(s.promotion_id ORDER BY s.position) AS promos,
               array_agg(s.counter::int ORDER BY s.position) AS counter,
               array_agg(s.customer::int ORDER BY s.position) AS customer,
               (array_agg(s.promotion_id ORDER BY s.position) FILTER (WHERE s.unknown))[1] AS unknown,
               count(*) FILTER (WHERE s.state = 'redeemed') AS redeemed,
               count(*) AS wanted,
               (SELECT count(*) FROM promotion_redemptions r WHERE r.order_id = s.order_id) AS known
        FROM slots s GROUP BY s.order_id ORDER BY min(s.position)
    LOOP
        asked_order := asked.order_id;
        because := NULL;
        IF asked.known > 0 THEN
            outcome := CASE WHEN asked.redeemed = asked.wanted AND asked.known = asked.wanted
                            THEN 'redeemed' ELSE 'returned' END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        outcome := 'redeemed';
        IF asked.unknown IS NOT NULL THEN
            outcome := 'unknown';
            because := asked.unknown;
        END IF;
        FOR i IN 1 .. cardinality(asked.promos) LOOP
            EXIT WHEN because IS NOT NULL;
            IF totals_left[asked.counter[i]] < 1 THEN
                outcome := 'used_up';
                because := asked.promos[i];
            ELSIF customers_left[asked.customer[i]] < 1 THEN
                outcome := 'customer_used_up';
                because := asked.promos[i];
            END IF;
        END LOOP;
        IF because IS NULL THEN
            FOR i IN 1 .. cardinality(asked.promos) LOOP
                IF asked.counter[i] IS NOT NULL THEN
                    totals_left[asked.counter[i]] := totals_left[asked.counter[i]] - 1;
                END IF;
                IF asked.customer[i] IS NOT NULL THEN
                    customers_left[asked.customer[i]] := customers_left[asked.customer[i]] - 1;
                END IF;
                granted_orders := granted_orders || asked.order_id;
                granted_users := granted_users || asked.user_id;
                granted_promos := granted_promos || asked.promos[i];
            END LOOP;
        END IF;
        RETURN NEXT;
    END LOOP;

    -- Two tries of one order may meet where nothing is limited: then the other one's row counts.
    WITH written AS (
        INSERT INTO promotion_redemptions (order_id, promotion_id, user_id)
        SELECT g.order_id, g.promotion_id, g.user_id
        FROM unnest(granted_orders, granted_users, granted_promos) AS g (order_id, user_id, promotion_id)
        ORDER BY g.order_id, g.promotion_id
        ON CONFLICT (order_id, promotion_id) DO NOTHING
        RETURNING promotion_redemptions.promotion_id, promotion_redemptions.user_id
    ), counted AS (
        UPDATE promotion_counters c
        SET uses = c.uses + n.uses,
            full_xid = CASE WHEN c.uses + n.uses >= c.uses_max THEN pg_current_xact_id() ELSE c.full_xid END
        FROM (SELECT w.promotion_id, count(*) AS uses FROM written w GROUP BY 1) n
        WHERE c.promotion_id = n.promotion_id
    )
    UPDATE promotion_customers u SET uses = u.uses + n.uses
    FROM (SELECT w.promotion_id, w.user_id, count(*) AS uses FROM written w GROUP BY 1, 2) n
    WHERE u.promotion_id = n.promotion_id AND u.user_id = n.user_id;
END $$;

-- Gives the uses of these orders back, once; how many were. Locks as above.
CREATE FUNCTION return_promotions(orders uuid[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    gone_orders uuid[];
    gone_promos uuid[];
    gone_users uuid[];
    given_back bigint;
BEGIN
    SELECT array_agg(r.order_id), array_agg(r.promotion_id), array_agg(r.user_id)
    INTO gone_orders, gone_promos, gone_users
    FROM promotion_redemptions r WHERE r.order_id = ANY (orders) AND r.state = 'redeemed';
    IF gone_orders IS NULL THEN
        RETURN 0;
    END IF;

    PERFORM FROM promotion_counters c WHERE c.promotion_id = ANY (gone_promos)
    ORDER BY c.promotion_id FOR UPDATE;
    PERFORM FROM promotion_customers u
    WHERE (u.promotion_id, u.user_id) IN
        (SELECT g.promotion_id, g.user_id FROM unnest(gone_promos, gone_users) AS g (promotion_id, user_id))
    ORDER BY u.promotion_id, u.user_id FOR UPDATE;
    PERFORM FROM promotion_redemptions r
    WHERE (r.order_id, r.promotion_id) IN
        (SELECT g.order_id, g.promotion_id FROM unnest(gone_orders, gone_promos) AS g (order_id, promotion_id))
    ORDER BY r.order_id, r.promotion_id FOR UPDATE;

    WITH returned AS (
        -- Only what nobody else has given back meanwhile.
        UPDATE promotion_redemptions r SET state = 'returned', returned_at = now()
        FROM unnest(gone_orders, gone_promos) AS g (order_id, promotion_id)
        WHERE r.order_id = g.order_id AND r.promotion_id = g.promotion_id AND r.state = 'redeemed'
        RETURNING r.promotion_id, r.user_id
    ), counted AS (
        UPDATE promotion_counters c
        SET uses = c.uses - n.uses,
            full_xid = CASE WHEN c.uses >= c.uses_max THEN pg_current_xact_id() ELSE c.full_xid END
        FROM (SELECT w.promotion_id, count(*) AS uses FROM returned w GROUP BY 1) n
        WHERE c.promotion_id = n.promotion_id
    ), counted_of_customers AS (
        UPDATE promotion_customers u SET uses = u.uses - n.uses
        FROM (SELECT w.promotion_id, w.user_id, count(*) AS uses FROM returned w GROUP BY 1, 2) n
        WHERE u.promotion_id = n.promotion_id AND u.user_id = n.user_id
    )
    SELECT count(*) INTO given_back FROM returned;
    RETURN given_back;
END $$;

-- Units of `currency` for one of `base`. Days are added, never changed in place by the shop: what
-- an order was charged at is recorded with the order.
CREATE TABLE exchange_rates (
    base       char(3) NOT NULL,
    as_of      date NOT NULL,
    currency   char(3) NOT NULL,
    rate       numeric(20, 10) NOT NULL CHECK (rate > 0),
    loaded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (as_of, base, currency),
    CHECK (currency <> base)
);

-- What refunds of single lines need, and how the price came about (`price_explanations.record_of`).
ALTER TABLE orders ADD COLUMN IF NOT EXISTS pricing jsonb;
ALTER TABLE order_items
    ADD COLUMN IF NOT EXISTS discount_minor bigint NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
    ADD COLUMN IF NOT EXISTS tax_minor bigint NOT NULL DEFAULT 0 CHECK (tax_minor >= 0);
ALTER TABLE order_items ADD CONSTRAINT item_discount_within_price
    CHECK (discount_minor <= subtotal_minor);
