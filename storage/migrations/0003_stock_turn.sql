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
    p_released_ids uuid[], p_expired_ids uuid[],
    p_pair_ids uuid[], p_pair_versions bigint[], p_pair_taken int[]
) RETURNS TABLE (reservation_id uuid, inventory_id uuid, quantity int)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moved bigint;
    closing boolean := cardinality(p_released_ids) + cardinality(p_expired_ids) > 0;
    closed_ids uuid[]; closed_pairs uuid[]; closed_quantities int[];
BEGIN
    UPDATE stock_turns t SET turns = t.turns + 1, last_at = clock_timestamp()
        WHERE t.owner_name = p_owner AND t.epoch = p_epoch AND NOT t.retired;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % of owner % is stale', p_epoch, p_owner USING ERRCODE = 'DB001';
    END IF;

    INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity, expires_at)
    SELECT r.id, r.order_id, p_pair_ids[r.pair], r.quantity, to_timestamp(r.expires_at)
    FROM unnest(p_reservation_ids, p_order_ids, p_reserved_pairs, p_quantities, p_expires_at)
        AS r (id, order_id, pair, quantity, expires_at);

    IF closing THEN
        WITH closing AS (
            SELECT id, 'released'::reservation_status AS status FROM unnest(p_released_ids) AS id
            UNION ALL
            SELECT id, 'expired' FROM unnest(p_expired_ids) AS id
        ), locked AS (
            -- In the order of ids, as confirming orders lock them.
            SELECT r.reservation_id, c.status FROM inventory_reservations r
            JOIN closing c ON c.id = r.reservation_id
            WHERE r.status = 'active' ORDER BY r.reservation_id FOR UPDATE OF r
        ), closed AS (
            UPDATE inventory_reservations r SET status = c.status
            FROM locked c
            WHERE r.reservation_id = c.reservation_id AND r.status = 'active'
              -- Only of pairs that this turn moves: their rows get the quantity back below.
              AND r.inventory_id = ANY (p_pair_ids)
            RETURNING r.reservation_id, r.inventory_id, r.quantity
        )
        SELECT array_agg(c.reservation_id), array_agg(c.inventory_id), array_agg(c.quantity)
        INTO closed_ids, closed_pairs, closed_quantities FROM closed c;
    END IF;

    IF closing THEN
        WITH given AS (
            SELECT c.pair, sum(c.quantity)::int AS quantity
            FROM unnest(closed_pairs, closed_quantities) AS c (pair, quantity) GROUP BY c.pair
        )
        UPDATE inventory i SET
            quantity = i.quantity - p.taken + coalesce(g.quantity, 0),
            reserved = i.reserved + p.taken - coalesce(g.quantity, 0),
            version = i.version + 1,
            updated_at = now()
        FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken) AS p (id, version, taken)
        LEFT JOIN given g ON g.pair = p.id
        WHERE i.inventory_id = p.id AND i.version = p.version;
    ELSE
        UPDATE inventory i SET
            quantity = i.quantity - p.taken,
            reserved = i.reserved + p.taken,
            version = i.version + 1,
            updated_at = now()
        FROM unnest(p_pair_ids, p_pair_versions, p_pair_taken) AS p (id, version, taken)
        WHERE i.inventory_id = p.id AND i.version = p.version;
    END IF;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_pair_ids) THEN
        RAISE EXCEPTION 'owner % holds an old version of % pairs',
            p_owner, cardinality(p_pair_ids) - moved USING ERRCODE = 'DB002';
    END IF;

    IF closing THEN
        RETURN QUERY SELECT c.id, c.pair, c.quantity
            FROM unnest(closed_ids, closed_pairs, closed_quantities) AS c (id, pair, quantity);
    END IF;
END
$$;
