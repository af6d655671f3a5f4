-- The turn log. A turn that only takes stock writes what it took into one row of the log, and the
-- pairs' rows follow some seconds later, once for many turns: updating a row per reservation was
-- as dear as the reservation itself. The log is ahead of the rows as Postgres' own is ahead of its
-- pages, and is written in the same transaction as the reservations (docs/adr/0011-turn-log.md).

ALTER TABLE inventory
    -- Turns up to this number are in the row; what later ones took is in the log.
    ADD COLUMN logged_to bigint NOT NULL DEFAULT 0;
ALTER TABLE stock_turns
    -- The number of the generation's last turn; numbers go on from generation to generation.
    ADD COLUMN last_turn bigint NOT NULL DEFAULT 0;

CREATE TABLE stock_log (
    owner_name  text NOT NULL,
    turn        bigint NOT NULL,
    pair_ids    uuid[] NOT NULL,
    taken       int[] NOT NULL, -- units that went from available to reserved, of each
    PRIMARY KEY (owner_name, turn),
    CHECK (cardinality(pair_ids) = cardinality(taken))
) WITH (toast_tuple_target = 8160); -- random ids do not compress: do not even try
ALTER TABLE stock_log ALTER COLUMN pair_ids SET STORAGE EXTERNAL;

-- Pairs as they are: the row, and what the log has beyond it.
CREATE VIEW stock_now AS
SELECT i.inventory_id, i.product_id, i.variant_id, i.warehouse_id,
       i.quantity - coalesce(l.taken, 0)::int AS quantity,
       i.reserved + coalesce(l.taken, 0)::int AS reserved,
       i.backordered, i.owner_name, i.version, i.updated_at,
       coalesce(l.taken, 0)::int AS logged
FROM inventory i
LEFT JOIN (
    SELECT e.inventory_id, sum(e.taken) AS taken
    FROM stock_log g CROSS JOIN LATERAL unnest(g.pair_ids, g.taken) AS e (inventory_id, taken)
    JOIN inventory j ON j.inventory_id = e.inventory_id AND j.logged_to < g.turn
    GROUP BY e.inventory_id) l USING (inventory_id);

-- The fence, and the log. The generation's row is locked against the UPDATE by which a successor
-- retires it, so either this turn commits before the successor begins, or it finds that it is
-- retired and writes nothing (P5). A turn says which one it follows: what an owner decided without
-- knowing of a turn of its own is not written either.
CREATE FUNCTION stock_turn_begins(
    p_owner text, p_epoch bigint, p_previous bigint, p_turn bigint,
    p_logged_ids uuid[], p_logged_taken int[],
    p_logged_until bigint -- the rows have all that turns up to here took: the log can forget it
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stock_turns t SET turns = t.turns + 1, last_turn = p_turn, last_at = clock_timestamp()
        WHERE t.owner_name = p_owner AND t.epoch = p_epoch AND NOT t.retired
          AND t.last_turn = p_previous;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM stock_turns t
                   WHERE t.owner_name = p_owner AND t.epoch = p_epoch AND NOT t.retired) THEN
            RAISE EXCEPTION 'turn % of owner % does not follow its last one', p_turn, p_owner
                USING ERRCODE = 'DB002';
        END IF;
        RAISE EXCEPTION 'epoch % of owner % is stale', p_epoch, p_owner USING ERRCODE = 'DB001';
    END IF;
    IF cardinality(p_logged_ids) > 0 THEN
        INSERT INTO stock_log (owner_name, turn, pair_ids, taken)
        VALUES (p_owner, p_turn, p_logged_ids, p_logged_taken);
    END IF;
    IF p_logged_until > 0 THEN
        DELETE FROM stock_log g WHERE g.owner_name = p_owner AND g.turn <= p_logged_until;
    END IF;
END
$$;

CREATE FUNCTION stock_rows_moved(p_owner text, p_moved bigint, p_wanted int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_moved <> p_wanted THEN
        RAISE EXCEPTION 'owner % holds an old version of % pairs', p_owner, p_wanted - p_moved
            USING ERRCODE = 'DB002';
    END IF;
END
$$;

-- Rows from which stock is only taken.
CREATE FUNCTION stock_rows_take(
    p_owner text, p_turn bigint, p_pair_ids uuid[], p_pair_versions bigint[], p_pair_taken int[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    UPDATE inventory i SET
        quantity = i.quantity - p.taken,
        reserved = i.reserved + p.taken,
        version = i.version + 1,
        logged_to = p_turn,
        updated_at = now()
    FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken) AS p (id, version, taken)
    WHERE i.inventory_id = p.id AND i.version = p.version AND i.owner_name IN ('', p_owner);
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM stock_rows_moved(p_owner, moved, cardinality(p_pair_ids));
END
$$;

-- A turn that only takes stock, which most are. Few arrays, since each costs its sender some
-- microseconds, and one number instead of two per reservation.
CREATE FUNCTION stock_turn_plain(
    p_owner text, p_epoch bigint, p_previous bigint, p_turn bigint,
    p_logged_ids uuid[], p_logged_taken int[], p_logged_until bigint,
    p_reservation_ids uuid[], p_order_ids uuid[],
    p_packed bigint[], -- position in p_pair_ids and p_logged_ids, put together, * 2^32 + quantity
    p_expires_at float8[], -- empty: all at p_all_expire_at
    p_all_expire_at float8,
    p_pair_ids uuid[], p_pair_versions bigint[], p_pair_taken int[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pair_ids uuid[] := p_pair_ids || p_logged_ids;
BEGIN
    PERFORM stock_turn_begins(p_owner, p_epoch, p_previous, p_turn, p_logged_ids, p_logged_taken,
                              p_logged_until);
    INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity, expires_at)
    SELECT r.id, r.order_id, pair_ids[(r.packed >> 32)::int], (r.packed & 4294967295)::int,
           to_timestamp(coalesce(r.expires_at, p_all_expire_at))
    FROM unnest(p_reservation_ids, p_order_ids, p_packed, p_expires_at)
        AS r (id, order_id, packed, expires_at);
    IF cardinality(p_pair_ids) > 0 THEN
        PERFORM stock_rows_take(p_owner, p_turn, p_pair_ids, p_pair_versions, p_pair_taken);
    END IF;
END
$$;

-- Brings the rows up to date with the whole log of an owner, and empties it.
CREATE FUNCTION stock_log_into_rows(p_owner text, p_turn bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE inventory i SET
        quantity = i.quantity - l.taken,
        reserved = i.reserved + l.taken,
        version = i.version + 1,
        logged_to = p_turn,
        updated_at = now()
    FROM (SELECT e.inventory_id, sum(e.taken)::int AS taken
          FROM stock_log g CROSS JOIN LATERAL unnest(g.pair_ids, g.taken) AS e (inventory_id, taken)
          JOIN inventory j ON j.inventory_id = e.inventory_id AND j.logged_to < g.turn
          WHERE g.owner_name = p_owner GROUP BY e.inventory_id) l
    WHERE i.inventory_id = l.inventory_id;
    DELETE FROM stock_log WHERE owner_name = p_owner;
$$;

-- What an owner begins with, and what it does after a turn of which it does not know whether it
-- was written: it takes a number, which makes that turn impossible from now on if it was not, and
-- has all rows up to date.
CREATE FUNCTION stock_checkpoint(p_owner text, p_epoch bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    UPDATE stock_turns t SET last_turn = t.last_turn + 1
        WHERE t.owner_name = p_owner AND t.epoch = p_epoch AND NOT t.retired
        RETURNING t.last_turn INTO number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % of owner % is stale', p_epoch, p_owner USING ERRCODE = 'DB001';
    END IF;
    PERFORM stock_log_into_rows(p_owner, number);
    RETURN number;
END
$$;

DROP FUNCTION stock_turn;
-- One turn of a stock owner: one round trip, one transaction.
CREATE FUNCTION stock_turn(
    p_owner text, p_epoch bigint, p_previous bigint, p_turn bigint,
    p_logged_ids uuid[], p_logged_taken int[], p_logged_until bigint,
    p_reservation_ids uuid[], p_order_ids uuid[],
    p_reserved_pairs int[], -- positions in p_pair_ids and p_logged_ids, put together, from 1
    p_quantities int[],
    p_expires_at float8[],
    p_customer_ids uuid[], -- empty, or one for each reservation
    p_backordered bool[], -- likewise
    p_limit_variants uuid[], p_limit_customers uuid[], p_limit_units int[], p_limit_max int[],
    p_extended_ids uuid[], p_extension_ids uuid[], p_extended_to float8[],
    p_movement_ids uuid[], p_moved_pairs int[], p_changes int[], p_balances bigint[],
    p_served_ids uuid[],
    p_released_ids uuid[], p_expired_ids uuid[],
    p_pair_ids uuid[], p_pair_versions bigint[],
    p_pair_taken int[], -- with what earlier turns took by way of the log
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
    pair_ids uuid[] := p_pair_ids || p_logged_ids;
BEGIN
    PERFORM stock_turn_begins(p_owner, p_epoch, p_previous, p_turn, p_logged_ids, p_logged_taken,
                              p_logged_until);

    IF cardinality(p_customer_ids) + cardinality(p_backordered) = 0 THEN
        INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity, expires_at)
        SELECT r.id, r.order_id, pair_ids[r.pair], r.quantity, to_timestamp(r.expires_at)
        FROM unnest(p_reservation_ids, p_order_ids, p_reserved_pairs, p_quantities, p_expires_at)
            AS r (id, order_id, pair, quantity, expires_at);
    ELSE
        -- Who waits for stock is loaded in the order of created_at: one turn has one now(), and
        -- first come is first served within a turn, too.
        INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,
                                            expires_at, customer_id, backordered, created_at)
        SELECT r.id, r.order_id, pair_ids[r.pair], r.quantity, to_timestamp(r.expires_at),
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
            logged_to = p_turn,
            updated_at = now()
        FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken, p_pair_moved, p_pair_backordered)
             WITH ORDINALITY AS p (id, version, taken, moved, backordered, position)
        LEFT JOIN given g ON g.pair = p.id
        LEFT JOIN unnest(p_handed_pairs, p_handed_to) AS h (pair, to_owner) ON h.pair = p.position
        WHERE i.inventory_id = p.id AND i.version = p.version AND i.owner_name IN ('', p_owner);
        GET DIAGNOSTICS moved = ROW_COUNT;
        PERFORM stock_rows_moved(p_owner, moved, cardinality(p_pair_ids));
    ELSE
        PERFORM stock_rows_take(p_owner, p_turn, p_pair_ids, p_pair_versions, p_pair_taken);
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

-- How many owners the pool has, and so where each pair is at home. A row says nothing of what another
-- owner has logged of it, so owners of two layouts must never be alive together: who begins with
-- another size ends every generation there is, and brings all rows up to date (P5).
CREATE TABLE stock_pool (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    size   int NOT NULL CHECK (size > 0),
    since  timestamptz NOT NULL DEFAULT now()
);

-- True if the size has changed by it.
CREATE FUNCTION stock_pool_is(p_size int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known int;
BEGIN
    INSERT INTO stock_pool (size) VALUES (p_size) ON CONFLICT (one) DO NOTHING;
    -- Who agrees waits for nobody but who is changing it.
    PERFORM FROM stock_pool WHERE size = p_size FOR SHARE;
    IF FOUND THEN
        RETURN false;
    END IF;
    SELECT size INTO known FROM stock_pool FOR UPDATE;
    IF known = p_size THEN
        RETURN false;
    END IF;
    UPDATE stock_turns SET retired = true WHERE NOT retired;
    PERFORM stock_log_into_rows(l.owner_name, l.last_turn + 1)
    FROM (SELECT owner_name, max(last_turn) AS last_turn FROM stock_turns GROUP BY owner_name) l
    WHERE EXISTS (SELECT FROM stock_log g WHERE g.owner_name = l.owner_name);
    UPDATE stock_pool SET size = p_size, since = now();
    RETURN true;
END
$$;
