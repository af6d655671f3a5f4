-- The stock engine: owners of hot pairs, policies, limits per customer, backorders, and a ledger
-- that says who moved stock, why, and what was on hand afterwards.

ALTER TABLE inventory
    -- The dedicated owner that has the pair; '' is the owner of the pool it is at home with.
    ADD COLUMN owner_name text NOT NULL DEFAULT '',
    -- Promised beyond the stock, to reservations that are marked so.
    ADD COLUMN backordered int NOT NULL DEFAULT 0 CHECK (backordered >= 0);
CREATE INDEX inventory_dedicated ON inventory (owner_name) WHERE owner_name <> '';

ALTER TABLE inventory_reservations
    ADD COLUMN customer_id uuid, -- where the variant has a limit per customer
    ADD COLUMN extension_id uuid, -- by which it got more time; once is all
    ADD COLUMN backordered boolean NOT NULL DEFAULT false; -- waits for stock to come
CREATE INDEX inventory_reservations_waiting ON inventory_reservations (inventory_id, created_at)
    WHERE backordered;

CREATE TABLE stock_policies (
    variant_id     uuid PRIMARY KEY REFERENCES product_variants (variant_id),
    backorder      text NOT NULL DEFAULT 'deny' CHECK (backorder IN ('deny', 'backorder', 'preorder')),
    backorder_max  int NOT NULL DEFAULT 0 CHECK (backorder_max >= 0), -- units per pair
    ships_from     date, -- of a pre-order
    customer_max   int NOT NULL DEFAULT 0 CHECK (customer_max >= 0), -- 0: no limit
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (backorder <> 'preorder' OR ships_from IS NOT NULL)
);

CREATE TABLE pair_rules (
    inventory_id  uuid PRIMARY KEY REFERENCES inventory (inventory_id),
    -- Kept back: what is available below it is not sold.
    safety_stock  int NOT NULL DEFAULT 0 CHECK (safety_stock >= 0),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- What customers hold and own of variants with a limit, over all warehouses and orders. Its row
-- decides between two owners that sell to the same customer at once.
CREATE TABLE customer_units (
    variant_id   uuid NOT NULL,
    customer_id  uuid NOT NULL,
    units        int NOT NULL,
    PRIMARY KEY (variant_id, customer_id)
) WITH (fillfactor = 80);

-- Movements as they were asked for. The owner of the pair carries them out, once.
CREATE TABLE stock_instructions (
    instruction_id  uuid PRIMARY KEY,
    inventory_id    uuid NOT NULL REFERENCES inventory (inventory_id),
    kind            text NOT NULL CHECK (kind IN
        ('receive', 'adjust', 'transfer_out', 'transfer_in', 'count', 'return')),
    quantity        int NOT NULL, -- of a count: what was counted on hand
    actor           text NOT NULL CHECK (actor <> ''),
    reason          text NOT NULL DEFAULT '',
    reference       text NOT NULL DEFAULT '', -- a purchase order, a transfer, a return
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'refused')),
    refusal         text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    CHECK ((status = 'pending') = (settled_at IS NULL)),
    CHECK ((status = 'refused') = (refusal IS NOT NULL))
);
CREATE INDEX stock_instructions_pending ON stock_instructions (created_at) WHERE status = 'pending';

ALTER TABLE stock_movements
    ADD COLUMN instruction_id uuid UNIQUE REFERENCES stock_instructions (instruction_id),
    ADD COLUMN reference text NOT NULL DEFAULT '',
    ADD COLUMN balance bigint; -- on hand after the movement
ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_kind_check,
    ADD CONSTRAINT stock_movements_kind_check CHECK (kind IN
        ('received', 'adjusted', 'counted', 'transferred', 'shipped', 'returned'));
ALTER TABLE stock_movements DROP CONSTRAINT stock_movements_quantity_check,
    -- A count that agrees is worth a line.
    ADD CONSTRAINT stock_movements_quantity_check CHECK (quantity <> 0 OR kind = 'counted');
UPDATE stock_movements m SET balance = b.balance
FROM (SELECT movement_id, sum(quantity) OVER (PARTITION BY inventory_id ORDER BY movement_id) AS balance
      FROM stock_movements) b
WHERE m.movement_id = b.movement_id;
ALTER TABLE stock_movements ALTER COLUMN balance SET NOT NULL,
    ADD CONSTRAINT stock_movements_balance_check CHECK (balance >= 0);

CREATE FUNCTION stock_movements_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger of stock movements is append-only: correct it by another movement';
END
$$;
CREATE TRIGGER stock_movements_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION stock_movements_are_final();

-- Who handed which pair to whom; '' is the pool.
CREATE TABLE pair_handovers (
    handover_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    inventory_id  uuid NOT NULL REFERENCES inventory (inventory_id),
    from_owner    text NOT NULL,
    from_epoch    bigint NOT NULL,
    to_owner      text NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX pair_handovers_pair ON pair_handovers (inventory_id, handover_id);

-- Where operators want pairs, and when: by hand, or ahead of a sale.
CREATE TABLE stock_placements (
    placement_id  uuid PRIMARY KEY,
    inventory_id  uuid NOT NULL REFERENCES inventory (inventory_id),
    place         text NOT NULL CHECK (place IN ('dedicated', 'pool')),
    from_at       timestamptz NOT NULL DEFAULT now(),
    until_at      timestamptz CHECK (until_at > from_at),
    actor         text NOT NULL CHECK (actor <> ''),
    reason        text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stock_placements_until ON stock_placements (until_at);
CREATE INDEX stock_placements_pair ON stock_placements (inventory_id, created_at);

DROP FUNCTION stock_turn;
-- One turn of a stock owner: one round trip, one transaction.
-- The fence is taken first and held to the end: the generation's row is locked against the
-- UPDATE by which a successor retires it, so either this turn commits before the successor
-- begins, or it finds that it is retired and writes nothing (P5).
CREATE FUNCTION stock_turn(
    p_owner text, p_epoch bigint,
    p_reservation_ids uuid[], p_order_ids uuid[],
    p_reserved_pairs int[], -- positions in p_pair_ids, from 1
    p_quantities int[],
    p_expires_at float8[],
    p_customer_ids uuid[], -- empty, or one for each reservation
    p_backordered bool[], -- likewise
    p_limit_variants uuid[], p_limit_customers uuid[], p_limit_units int[], p_limit_max int[],
    p_extended_ids uuid[], p_extension_ids uuid[], p_extended_to float8[],
    p_movement_ids uuid[], p_moved_pairs int[], p_changes int[], p_balances bigint[],
    p_served_ids uuid[],
    p_released_ids uuid[], p_expired_ids uuid[],
    p_pair_ids uuid[], p_pair_versions bigint[], p_pair_taken int[],
    p_pair_moved int[], p_pair_backordered int[], -- empty, or one for each pair
    p_handed_pairs int[], p_handed_to text[]
) RETURNS TABLE (reservation_id uuid, inventory_id uuid, quantity int, backordered bool)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moved bigint;
    closing boolean := cardinality(p_released_ids) + cardinality(p_expired_ids) > 0;
    closed_ids uuid[]; closed_pairs uuid[]; closed_quantities int[]; closed_waiting bool[];
    closed_customers uuid[];
BEGIN
    UPDATE stock_turns t SET turns = t.turns + 1, last_at = clock_timestamp()
        WHERE t.owner_name = p_owner AND t.epoch = p_epoch AND NOT t.retired;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % of owner % is stale', p_epoch, p_owner USING ERRCODE = 'DB001';
    END IF;

    IF cardinality(p_customer_ids) + cardinality(p_backordered) = 0 THEN
        INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity, expires_at)
        SELECT r.id, r.order_id, p_pair_ids[r.pair], r.quantity, to_timestamp(r.expires_at)
        FROM unnest(p_reservation_ids, p_order_ids, p_reserved_pairs, p_quantities, p_expires_at)
            AS r (id, order_id, pair, quantity, expires_at);
    ELSE
        -- Who waits for stock is loaded in the order of created_at: one turn has one now(), and
        -- first come is first served within a turn, too.
        INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,
                                            expires_at, customer_id, backordered, created_at)
        SELECT r.id, r.order_id, p_pair_ids[r.pair], r.quantity, to_timestamp(r.expires_at),
               r.customer_id, coalesce(r.backordered, false),
               now() + (r.position - 1) * interval '1 microsecond'
        FROM unnest(p_reservation_ids, p_order_ids, p_reserved_pairs, p_quantities, p_expires_at,
                    p_customer_ids, p_backordered) WITH ORDINALITY
            AS r (id, order_id, pair, quantity, expires_at, customer_id, backordered, position);
    END IF;

    IF cardinality(p_extended_ids) > 0 THEN
        -- Allocated meanwhile: nothing to extend, and the owner finds out.
        UPDATE inventory_reservations r
        SET expires_at = to_timestamp(e.expires_at), extension_id = e.extension_id
        FROM unnest(p_extended_ids, p_extension_ids, p_extended_to) AS e (id, extension_id, expires_at)
        WHERE r.reservation_id = e.id AND r.status = 'active' AND r.extension_id IS NULL
          AND r.inventory_id = ANY (p_pair_ids);
    END IF;

    IF cardinality(p_movement_ids) > 0 THEN
        WITH done AS (
            UPDATE stock_instructions s SET status = 'done', settled_at = clock_timestamp()
            FROM unnest(p_movement_ids) AS id
            WHERE s.instruction_id = id AND s.status = 'pending'
            RETURNING s.instruction_id, s.kind, s.actor, s.reason, s.reference
        )
        INSERT INTO stock_movements
            (inventory_id, kind, quantity, reason, actor, instruction_id, reference, balance)
        SELECT p_pair_ids[m.pair],
               CASE d.kind WHEN 'receive' THEN 'received' WHEN 'adjust' THEN 'adjusted'
                           WHEN 'count' THEN 'counted' WHEN 'return' THEN 'returned'
                           ELSE 'transferred' END,
               m.change, d.reason, d.actor, d.instruction_id, d.reference, m.balance
        FROM unnest(p_movement_ids, p_moved_pairs, p_changes, p_balances)
             WITH ORDINALITY AS m (id, pair, change, balance, position)
        JOIN done d ON d.instruction_id = m.id
        ORDER BY m.position;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved <> cardinality(p_movement_ids) THEN
            RAISE EXCEPTION 'movements of owner % were settled before', p_owner USING ERRCODE = 'DB002';
        END IF;
    END IF;

    IF cardinality(p_served_ids) > 0 THEN
        UPDATE inventory_reservations r SET backordered = false
        WHERE r.reservation_id = ANY (p_served_ids) AND r.backordered
          AND r.status IN ('active', 'allocated');
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved <> cardinality(p_served_ids) THEN
            RAISE EXCEPTION 'reservations of owner % do not wait any more', p_owner
                USING ERRCODE = 'DB002';
        END IF;
    END IF;

    IF closing THEN
        WITH closing AS (
            SELECT id, 'released'::reservation_status AS status FROM unnest(p_released_ids) AS id
            UNION ALL
            SELECT id, 'expired' FROM unnest(p_expired_ids) AS id
        ), locked AS (
            -- In the order of ids, as confirming orders lock them.
            SELECT r.reservation_id, c.status, r.backordered FROM inventory_reservations r
            JOIN closing c ON c.id = r.reservation_id
            WHERE r.status = 'active' ORDER BY r.reservation_id FOR UPDATE OF r
        ), closed AS (
            UPDATE inventory_reservations r SET status = c.status, backordered = false
            FROM locked c
            WHERE r.reservation_id = c.reservation_id AND r.status = 'active'
              -- Only of pairs that this turn moves: their rows get the quantity back below.
              AND r.inventory_id = ANY (p_pair_ids)
            RETURNING r.reservation_id, r.inventory_id, r.quantity, c.backordered, r.customer_id
        )
        SELECT array_agg(c.reservation_id), array_agg(c.inventory_id), array_agg(c.quantity),
               array_agg(c.backordered), array_agg(c.customer_id)
        INTO closed_ids, closed_pairs, closed_quantities, closed_waiting, closed_customers
        FROM closed c;
    END IF;

    IF cardinality(p_limit_variants) > 0 OR cardinality(array_remove(closed_customers, NULL)) > 0 THEN
        -- One statement for more and fewer, in one order: two owners never wait for each other.
        WITH change AS (
            SELECT variant_id, customer_id, sum(units)::int AS units, max(most) AS most
            FROM (SELECT l.variant_id, l.customer_id, l.units, l.most
                  FROM unnest(p_limit_variants, p_limit_customers, p_limit_units, p_limit_max)
                      AS l (variant_id, customer_id, units, most)
                  UNION ALL
                  SELECT i.variant_id, c.customer_id, -c.quantity, NULL
                  FROM unnest(closed_pairs, closed_quantities, closed_customers)
                      AS c (pair, quantity, customer_id)
                  JOIN inventory i ON i.inventory_id = c.pair
                  WHERE c.customer_id IS NOT NULL) AS changes
            GROUP BY variant_id, customer_id
        ), changed AS (
            INSERT INTO customer_units AS u (variant_id, customer_id, units)
            SELECT variant_id, customer_id, units FROM change ORDER BY variant_id, customer_id
            ON CONFLICT (variant_id, customer_id) DO UPDATE SET units = u.units + excluded.units
            RETURNING u.variant_id, u.customer_id, u.units
        )
        SELECT count(*) INTO moved
        FROM changed JOIN change USING (variant_id, customer_id) WHERE changed.units > change.most;
        IF moved > 0 THEN
            RAISE EXCEPTION '% customers of owner % have got more elsewhere', moved, p_owner
                USING ERRCODE = 'DB003';
        END IF;
    END IF;

    IF closing OR cardinality(p_pair_moved) + cardinality(p_pair_backordered)
                  + cardinality(p_handed_pairs) > 0 THEN
        WITH given AS (
            SELECT c.pair,
                   coalesce(sum(c.quantity) FILTER (WHERE NOT c.waiting), 0)::int AS quantity,
                   coalesce(sum(c.quantity) FILTER (WHERE c.waiting), 0)::int AS waiting
            FROM unnest(closed_pairs, closed_quantities, closed_waiting) AS c (pair, quantity, waiting)
            GROUP BY c.pair
        )
        UPDATE inventory i SET
            quantity = i.quantity - p.taken + coalesce(p.moved, 0) + coalesce(g.quantity, 0),
            reserved = i.reserved + p.taken - coalesce(g.quantity, 0),
            backordered = i.backordered + coalesce(p.backordered, 0) - coalesce(g.waiting, 0),
            owner_name = coalesce(h.to_owner, i.owner_name),
            version = i.version + 1,
            updated_at = now()
        FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken, p_pair_moved, p_pair_backordered)
             WITH ORDINALITY AS p (id, version, taken, moved, backordered, position)
        LEFT JOIN given g ON g.pair = p.id
        LEFT JOIN unnest(p_handed_pairs, p_handed_to) AS h (pair, to_owner) ON h.pair = p.position
        WHERE i.inventory_id = p.id AND i.version = p.version AND i.owner_name IN ('', p_owner);
    ELSE
        UPDATE inventory i SET
            quantity = i.quantity - p.taken,
            reserved = i.reserved + p.taken,
            version = i.version + 1,
            updated_at = now()
        FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken) AS p (id, version, taken)
        WHERE i.inventory_id = p.id AND i.version = p.version AND i.owner_name IN ('', p_owner);
    END IF;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_pair_ids) THEN
        RAISE EXCEPTION 'owner % holds an old version of % pairs',
            p_owner, cardinality(p_pair_ids) - moved USING ERRCODE = 'DB002';
    END IF;

    IF cardinality(p_handed_pairs) > 0 THEN
        INSERT INTO pair_handovers (inventory_id, from_owner, from_epoch, to_owner)
        SELECT p_pair_ids[h.pair], p_owner, p_epoch, h.to_owner
        FROM unnest(p_handed_pairs, p_handed_to) AS h (pair, to_owner);
    END IF;

    IF closing THEN
        RETURN QUERY SELECT c.id, c.pair, c.quantity, c.waiting
            FROM unnest(closed_ids, closed_pairs, closed_quantities, closed_waiting)
                AS c (id, pair, quantity, waiting);
    END IF;
END
$$;
