-- The audit's questions. Those named p<n>_… answer with violations of promise n: the text,
-- and beside each the number of all. They read whole tables once and join them by hashing:
-- a million orders is what they are written for.
-- What the outside world says (charges, events, acknowledged orders) is brought into
-- temporary tables first, so that one snapshot answers everything.

-- name: forget_outside
DROP TABLE IF EXISTS pg_temp.audit_charges, pg_temp.audit_acknowledged, pg_temp.audit_bus

-- name: prepare_outside
CREATE TEMPORARY TABLE audit_charges (
    transaction_id  text NOT NULL,
    amount_minor    bigint NOT NULL,
    currency        text NOT NULL,
    status          text NOT NULL,
    refunded_minor  bigint NOT NULL
);
CREATE TEMPORARY TABLE audit_acknowledged (order_id uuid NOT NULL);
CREATE TEMPORARY TABLE audit_bus (order_id uuid NOT NULL)

-- name: analyze_outside
ANALYZE pg_temp.audit_charges, pg_temp.audit_acknowledged, pg_temp.audit_bus

-- name: checked
SELECT pairs AS "P1",
       pairs AS "P2",
       sold + acknowledged AS "P3",
       (SELECT count(*) FROM inventory_reservations) + pending AS "P4",
       (SELECT count(*) FROM stock_turns) + pairs AS "P5",
       orders AS "P6",
       (SELECT count(*) FROM audit_charges) + (SELECT count(*) FROM payments) AS "P7",
       (SELECT count(*) FROM order_items i JOIN orders o USING (order_id)
         WHERE o.status = ANY ($1::order_status[])) AS "P8",
       sold AS "P9",
       acknowledged + (SELECT count(*) FROM audit_bus)
           + (SELECT count(*) FROM audit_charges WHERE status = 'captured') AS "P10"
  FROM (SELECT count(*) AS orders,
               count(*) FILTER (WHERE confirmed_at IS NOT NULL) AS sold,
               count(*) FILTER (WHERE status = 'pending') AS pending
          FROM orders),
       (SELECT count(*) AS pairs FROM inventory),
       (SELECT count(*) AS acknowledged FROM audit_acknowledged)

-- name: p1_below_zero
SELECT format('pair %s has quantity %s and reserved %s: neither may be below zero',
              inventory_id, quantity, reserved) AS violation,
       count(*) OVER () AS total
  FROM stock_now
 WHERE quantity < 0 OR reserved < 0
 ORDER BY violation LIMIT $1

-- name: p1_running_balance
-- Reservations that were given back left no time of their end, so they are left out: what
-- remains was held from its creation on, and even that must never exceed what had come in.
-- What was shipped went out under its reservation, which is counted already.
WITH changes AS (
    SELECT inventory_id, created_at, quantity::bigint
      FROM stock_movements WHERE kind <> 'shipped'
    UNION ALL
    SELECT inventory_id, created_at, -quantity::bigint
      FROM inventory_reservations
     WHERE status IN ('active', 'allocated', 'shipped') AND NOT backordered
), balances AS (
    SELECT inventory_id, created_at,
           sum(quantity) OVER (PARTITION BY inventory_id ORDER BY created_at) AS balance
      FROM changes
), first_below AS (
    SELECT DISTINCT ON (inventory_id) inventory_id, created_at, balance
      FROM balances WHERE balance < 0
     ORDER BY inventory_id, created_at
)
SELECT format('pair %s was oversold at %s: what had come in minus what was held is %s',
              inventory_id, created_at, balance) AS violation,
       count(*) OVER () AS total
  FROM first_below
 ORDER BY violation LIMIT $1

-- name: p1_constraint
SELECT 'constraint inventory_never_oversold CHECK (quantity >= 0) is missing on inventory or'
       ' not enforced: add it back' AS violation, 1::bigint AS total
 WHERE NOT EXISTS (
           SELECT FROM pg_constraint
            WHERE conrelid = 'inventory'::regclass
              AND conname = 'inventory_never_oversold'
              AND pg_get_constraintdef(oid) = 'CHECK ((quantity >= 0))')
 LIMIT $1

-- name: p2_replay
-- Adjusted is what was adjusted, what counting found, and what came from or went to another
-- warehouse.
WITH moved AS (
    SELECT inventory_id,
           sum(quantity) FILTER (WHERE kind = 'received') AS received,
           sum(quantity) FILTER (WHERE kind IN ('adjusted', 'counted', 'transferred')) AS adjusted,
           -sum(quantity) FILTER (WHERE kind = 'shipped') AS shipped,
           sum(quantity) FILTER (WHERE kind = 'returned') AS returned
      FROM stock_movements GROUP BY inventory_id
), held AS (
    SELECT inventory_id,
           sum(quantity) FILTER (WHERE status = 'active' AND NOT backordered) AS active,
           sum(quantity) FILTER (WHERE status = 'allocated' AND NOT backordered) AS allocated,
           sum(quantity) FILTER (WHERE status = 'shipped') AS shipped,
           sum(quantity) FILTER (WHERE backordered) AS backordered
      FROM inventory_reservations GROUP BY inventory_id
), books AS (
    SELECT p.inventory_id, p.quantity AS available, p.reserved, p.backordered AS promised,
           coalesce(m.received, 0) AS received, coalesce(m.adjusted, 0) AS adjusted,
           coalesce(m.shipped, 0) AS shipped, coalesce(m.returned, 0) AS returned,
           coalesce(h.active, 0) AS active, coalesce(h.allocated, 0) AS allocated,
           coalesce(h.shipped, 0) AS shipped_reservations,
           coalesce(h.backordered, 0) AS backordered
      FROM stock_now p
      LEFT JOIN moved m USING (inventory_id)
      LEFT JOIN held h USING (inventory_id)
)
SELECT format('pair %s does not add up: received %s + adjusted %s against available %s'
              ' + reserved %s + allocated %s + shipped %s − returned %s;'
              ' the row says reserved %s in all, shipped reservations are %s;'
              ' promised beyond the stock %s, and %s wait for it',
              inventory_id, received, adjusted, available, active, allocated, shipped, returned,
              reserved, shipped_reservations, promised, backordered) AS violation,
       count(*) OVER () AS total
  FROM books
 WHERE received + adjusted <> available + active + allocated + shipped - returned
    OR reserved <> active + allocated
    OR shipped <> shipped_reservations
    OR promised <> backordered
 ORDER BY violation LIMIT $1

-- name: p2_ledger
-- Each line says what was on hand after it; line by line it must be so.
WITH lines AS (
    SELECT movement_id, inventory_id, balance,
           sum(quantity) OVER (PARTITION BY inventory_id ORDER BY movement_id) AS counted
      FROM stock_movements
)
SELECT format('movement %s of pair %s says %s on hand, but its ledger comes to %s',
              movement_id, inventory_id, balance, counted) AS violation,
       count(*) OVER () AS total
  FROM lines WHERE balance <> counted
 ORDER BY violation LIMIT $1

-- name: p2_instructions
SELECT format('movement %s was asked for and is %s, but it has %s lines in the ledger',
              i.instruction_id, i.status, count(m.movement_id)) AS violation,
       count(*) OVER () AS total
  FROM stock_instructions i LEFT JOIN stock_movements m USING (instruction_id)
 GROUP BY i.instruction_id
HAVING count(m.movement_id) <> (i.status = 'done')::int
 ORDER BY violation LIMIT $1

-- name: p2_returns
-- Goods that come back with a refund: no more than it gave money back for, no more to a pair than
-- the order took from it, and each by the movement that says so.
WITH came_back AS (
    SELECT r.order_id, b.refund_id, b.line, b.inventory_id, b.quantity, b.instruction_id
      FROM refund_returns b JOIN refunds r USING (refund_id)
      JOIN stock_instructions s USING (instruction_id)
     WHERE s.status <> 'refused'
)
SELECT violation, count(*) OVER () AS total FROM (
    SELECT format('refund %s gave money back for %s units of line %s, but %s came back',
                  b.refund_id, l.quantity, b.line, sum(b.quantity)) AS violation
      FROM came_back b JOIN refund_lines l USING (refund_id, line)
     GROUP BY b.refund_id, b.line, l.quantity HAVING sum(b.quantity) > l.quantity
    UNION ALL
    SELECT format('order %s took %s units from pair %s, but %s came back',
                  b.order_id, coalesce(t.quantity, 0), b.inventory_id, b.quantity)
      FROM (SELECT order_id, inventory_id, sum(quantity) AS quantity
              FROM came_back GROUP BY order_id, inventory_id) b
      LEFT JOIN (SELECT order_id, inventory_id, sum(quantity) AS quantity
                   FROM inventory_reservations
                  WHERE status IN ('allocated', 'shipped', 'cancelled')
                    AND order_id IN (SELECT order_id FROM came_back)
                  GROUP BY order_id, inventory_id) t USING (order_id, inventory_id)
     WHERE b.quantity > coalesce(t.quantity, 0)
    UNION ALL
    SELECT format('%s units came back to pair %s with refund %s, but instruction %s is to %s %s'
                  ' units of pair %s', b.quantity, b.inventory_id, b.refund_id, s.instruction_id,
                  s.kind, s.quantity, s.inventory_id)
      FROM refund_returns b JOIN stock_instructions s USING (instruction_id)
     WHERE (s.kind, s.quantity, s.inventory_id) <> ('return', b.quantity, b.inventory_id)) found
 ORDER BY violation LIMIT $1

-- name: p2_customers
-- What customers are said to have of variants with a limit, against their reservations.
WITH held AS (
    SELECT p.variant_id, r.customer_id, sum(r.quantity) AS units
      FROM inventory_reservations r JOIN inventory p USING (inventory_id)
     WHERE r.customer_id IS NOT NULL AND r.status IN ('active', 'allocated', 'shipped')
     GROUP BY p.variant_id, r.customer_id
)
SELECT format('customer %s is said to have %s of variant %s, but has reservations of %s',
              customer_id, coalesce(u.units, 0), variant_id, coalesce(h.units, 0)) AS violation,
       count(*) OVER () AS total
  FROM customer_units u FULL JOIN held h USING (variant_id, customer_id)
 WHERE coalesce(u.units, 0) <> coalesce(h.units, 0)
 ORDER BY violation LIMIT $1

-- name: p3_missing
SELECT format('order %s was confirmed, but variant %s has no reservation in Postgres',
              i.order_id, i.variant_id) AS violation,
       count(*) OVER () AS total
  FROM order_items i
  JOIN orders o USING (order_id)
 WHERE o.confirmed_at IS NOT NULL
   AND NOT EXISTS (
           SELECT FROM inventory_reservations r JOIN inventory p USING (inventory_id)
            WHERE r.order_id = i.order_id AND p.variant_id = i.variant_id)
 GROUP BY i.order_id, i.variant_id
 ORDER BY violation LIMIT $1

-- name: p3_acknowledged
SELECT format('order %s was acknowledged, but has no reservation in Postgres', a.order_id)
           AS violation,
       count(*) OVER () AS total
  FROM audit_acknowledged a
 WHERE NOT EXISTS (SELECT FROM inventory_reservations r WHERE r.order_id = a.order_id)
 ORDER BY violation LIMIT $1

-- name: p3_late
SELECT format('reservation %s was written at %s, after its order %s was confirmed at %s',
              r.reservation_id, r.created_at, r.order_id, o.confirmed_at) AS violation,
       count(*) OVER () AS total
  FROM inventory_reservations r
  JOIN orders o USING (order_id)
 WHERE r.created_at > o.confirmed_at
 ORDER BY violation LIMIT $1

-- name: p4_states
SELECT format('reservation %s is %s, but its order %s is %s',
              r.reservation_id, r.status, r.order_id, coalesce(o.status::text, 'not there'))
           AS violation,
       count(*) OVER () AS total
  FROM inventory_reservations r
  LEFT JOIN orders o USING (order_id)
 WHERE coalesce(o.status::text, 'none') || '/' || r.status::text <> ALL ($2::text[])
 ORDER BY violation LIMIT $1

-- name: p4_overdue
SELECT format('reservation %s of pair %s is still active, though it ran out at %s',
              reservation_id, inventory_id, expires_at) AS violation,
       count(*) OVER () AS total
  FROM inventory_reservations
 WHERE status = 'active' AND expires_at < $2
 ORDER BY violation LIMIT $1

-- name: p4_stalled
SELECT format('order %s is pending since %s: recovery has neither finished nor unwound it',
              order_id, created_at) AS violation,
       count(*) OVER () AS total
  FROM orders
 WHERE status = 'pending' AND created_at < $2
 ORDER BY violation LIMIT $1

-- name: p5_interleaved
WITH generations AS (
    SELECT owner_name, epoch, first_at, last_at,
           lead(epoch) OVER later AS next_epoch,
           lead(first_at) OVER later AS next_first_at
      FROM stock_turns
    WINDOW later AS (PARTITION BY owner_name ORDER BY epoch)
)
SELECT CASE WHEN last_at < first_at
            THEN format('owner %s epoch %s wrote its last turn at %s, before its first at %s',
                        owner_name, epoch, last_at, first_at)
            ELSE format('owner %s epoch %s wrote a turn at %s, after epoch %s had begun at %s',
                        owner_name, epoch, last_at, next_epoch, next_first_at)
       END AS violation,
       count(*) OVER () AS total
  FROM generations
 WHERE last_at > next_first_at OR last_at < first_at
 ORDER BY violation LIMIT $1

-- name: p5_unknown_epoch
SELECT format('owner %s wrote turns as epoch %s, but its newest epoch is %s',
              t.owner_name, t.epoch, coalesce(o.epoch::text, 'not known')) AS violation,
       count(*) OVER () AS total
  FROM stock_turns t
  LEFT JOIN stock_owners o USING (owner_name)
 WHERE o.epoch IS NULL OR t.epoch > o.epoch
 ORDER BY violation LIMIT $1

-- name: p5_version
SELECT format('pair %s has reservations, but its version is %s: no owner''s turn wrote them',
              p.inventory_id, p.version) AS violation,
       count(*) OVER () AS total
  FROM stock_now p
 WHERE p.version <= 0 AND p.logged = 0
   AND EXISTS (SELECT FROM inventory_reservations r WHERE r.inventory_id = p.inventory_id)
 ORDER BY violation LIMIT $1

-- name: p5_log
-- The log has nothing but turns that their owner wrote, of pairs that there are, and beyond a row
-- nothing by another owner than the one that has the pair.
WITH owners AS (
    SELECT owner_name, max(last_turn) AS last_turn FROM stock_turns GROUP BY owner_name
)
SELECT format('turn %s in the log of owner %s, whose last turn was %s, took from pairs %s',
              g.turn, g.owner_name, coalesce(o.last_turn::text, 'never'), g.pair_ids) AS violation,
       count(*) OVER () AS total
  FROM stock_log g LEFT JOIN owners o USING (owner_name)
 WHERE o.last_turn IS NULL OR g.turn > o.last_turn
    OR EXISTS (SELECT FROM unnest(g.pair_ids) AS one (id)
                 LEFT JOIN inventory i ON i.inventory_id = one.id
                WHERE i.inventory_id IS NULL
                   OR i.logged_to < g.turn AND i.owner_name NOT IN ('', g.owner_name))
 ORDER BY violation LIMIT $1

-- name: p5_handed_over
-- A pair is where its last hand-over took it.
WITH last AS (
    SELECT DISTINCT ON (inventory_id) inventory_id, to_owner
      FROM pair_handovers ORDER BY inventory_id, handover_id DESC
)
SELECT format('pair %s is said to be with %s, but was last handed to %s', p.inventory_id,
              coalesce(nullif(p.owner_name, ''), 'the pool'),
              coalesce(nullif(l.to_owner, ''), 'the pool')) AS violation,
       count(*) OVER () AS total
  FROM inventory p LEFT JOIN last l USING (inventory_id)
 WHERE p.owner_name <> coalesce(l.to_owner, '')
 ORDER BY violation LIMIT $1

-- name: p6_repeated
SELECT format('user %s has %s orders under idempotency key %L',
              user_id, count(*), idempotency_key) AS violation,
       count(*) OVER () AS total
  FROM orders
 GROUP BY user_id, idempotency_key
HAVING count(*) > 1
 ORDER BY violation LIMIT $1

-- name: p6_constraint
SELECT 'constraint one_order_per_idempotency_key UNIQUE (user_id, idempotency_key) is missing'
       ' on orders: add it back' AS violation, 1::bigint AS total
 WHERE NOT EXISTS (
           SELECT FROM pg_constraint
            WHERE conrelid = 'orders'::regclass
              AND conname = 'one_order_per_idempotency_key'
              AND pg_get_constraintdef(oid) = 'UNIQUE (user_id, idempotency_key)')
 LIMIT $1

-- name: p7_unknown
SELECT format('charge %s at the provider (%s, %s %s minor units) is unknown to us',
              c.transaction_id, c.status, c.amount_minor, c.currency) AS violation,
       count(*) OVER () AS total
  FROM audit_charges c
 WHERE NOT EXISTS (SELECT FROM payments p WHERE p.transaction_id = c.transaction_id)
 ORDER BY violation LIMIT $1

-- name: p7_captured
-- A capture may be a moment ahead of its order's confirmation, and a refund a moment behind
-- a cancellation; an order is only failed once its money is back.
SELECT format('charge %s (%s %s minor units) is captured, but its order %s is %s',
              c.transaction_id, c.amount_minor, c.currency, p.order_id,
              coalesce(o.status::text, 'not there')) AS violation,
       count(*) OVER () AS total
  FROM audit_charges c
  JOIN payments p USING (transaction_id)
  LEFT JOIN orders o USING (order_id)
 WHERE c.status = 'captured'
   AND (o.order_id IS NULL
        OR o.status <> ALL ($2::order_status[])
           AND NOT (o.status = 'pending' AND o.created_at >= $3)
           AND o.waits_until IS NULL
           AND NOT (o.status = 'cancelled' AND o.updated_at >= $4)
           AND o.updated_at <= $5)
 ORDER BY violation LIMIT $1

-- name: p7_amount
-- All parts of a payment together; what was given back later was taken before.
WITH taken AS (
    SELECT p.order_id, sum(c.amount_minor) AS amount_minor,
           count(*) FILTER (WHERE c.currency <> o.currency::text) AS foreign_currency
      FROM audit_charges c
      JOIN payments p USING (transaction_id)
      JOIN orders o USING (order_id)
     WHERE c.status IN ('captured', 'refunded') AND o.status = ANY ($2::order_status[])
     GROUP BY p.order_id
)
SELECT format('the charges of order %s took %s minor units (%s of them in another currency),'
              ' but its total is %s %s',
              o.order_id, t.amount_minor, t.foreign_currency, o.total_minor, o.currency)
           AS violation,
       count(*) OVER () AS total
  FROM taken t JOIN orders o USING (order_id)
 WHERE t.amount_minor <> o.total_minor OR t.foreign_currency > 0
 ORDER BY violation LIMIT $1

-- name: p7_once
-- The provider's books were read before the snapshot: what was confirmed since then is left out.
-- Nothing has to be captured for an order that costs nothing. An order that was refunded in full
-- was captured before; the refunds have to be ours (p7_refunds).
WITH captured AS (
    SELECT p.order_id, count(*) AS charges
      FROM audit_charges c JOIN payments p USING (transaction_id)
     WHERE c.status IN ('captured', 'refunded')
     GROUP BY p.order_id
), asked AS (
    SELECT order_id, count(*) AS parts FROM payments GROUP BY order_id
)
SELECT format('order %s is %s with %s captured charges at the providers, not %s',
              o.order_id, o.status, coalesce(c.charges, 0), coalesce(a.parts, 0)) AS violation,
       count(*) OVER () AS total
  FROM orders o
  LEFT JOIN captured c USING (order_id)
  LEFT JOIN asked a USING (order_id)
 WHERE o.status = ANY ($2::order_status[])
   AND o.confirmed_at <= $3
   AND (coalesce(c.charges, 0) <> coalesce(a.parts, 0)
        OR coalesce(a.parts, 0) = 0 AND o.total_minor <> 0)
 ORDER BY violation LIMIT $1

-- name: p7_refunds
-- What the provider gave back of a confirmed order's charge is what we asked for; what was asked
-- for since the books were read, or is under way, may be missing. What an operator settled
-- outside may have been given back in the provider's own pages, or in another way.
WITH asked AS (
    SELECT r.payment_id, sum(r.amount_minor) AS asked,
           coalesce(sum(r.amount_minor)
                    FILTER (WHERE r.done_at <= $3 AND r.settled_by IS NULL), 0) AS done
      FROM refund_parts r GROUP BY r.payment_id
)
SELECT format('the provider gave back %s minor units of charge %s, we asked for %s and %s of that'
              ' are done', c.refunded_minor, c.transaction_id, coalesce(a.asked, 0),
              coalesce(a.done, 0)) AS violation,
       count(*) OVER () AS total
  FROM audit_charges c
  JOIN payments p USING (transaction_id)
  JOIN orders o USING (order_id)
  LEFT JOIN asked a USING (payment_id)
 WHERE o.status = ANY ($2::order_status[])
   AND (c.refunded_minor > coalesce(a.asked, 0) OR c.refunded_minor < coalesce(a.done, 0))
 ORDER BY violation LIMIT $1

-- name: p7_refunded
-- Our own books: the parts of a refund come to it, and a payment's refunds to what it says.
SELECT violation, count(*) OVER () AS total FROM (
    SELECT format('refund %s is of %s minor units, its parts come to %s',
                  r.refund_id, r.amount_minor, coalesce(sum(p.amount_minor), 0)) AS violation
      FROM refunds r LEFT JOIN refund_parts p USING (refund_id)
     GROUP BY r.refund_id HAVING r.amount_minor <> coalesce(sum(p.amount_minor), 0)
    UNION ALL
    SELECT format('payment %s has %s minor units refunded, its refunds come to %s',
                  p.payment_id, p.refunded_minor, coalesce(sum(r.amount_minor), 0))
      FROM payments p LEFT JOIN refund_parts r USING (payment_id) JOIN orders o USING (order_id)
     WHERE o.status = ANY ($2::order_status[])
     GROUP BY p.payment_id HAVING p.refunded_minor <> coalesce(sum(r.amount_minor), 0)
    UNION ALL
    SELECT format('refund %s is of %s minor units, its lines and shipping come to %s',
                  r.refund_id, r.amount_minor, r.shipping_minor + sum(l.amount_minor))
      FROM refunds r JOIN refund_lines l USING (refund_id)
     GROUP BY r.refund_id HAVING r.amount_minor < r.shipping_minor + sum(l.amount_minor)
    UNION ALL
    SELECT format('line %s of order %s is of %s units, %s of them are refunded',
                  l.line, r.order_id, i.quantity, sum(l.quantity))
      FROM refund_lines l JOIN refunds r USING (refund_id)
      LEFT JOIN order_items i ON i.order_id = r.order_id AND i.line = l.line
     GROUP BY r.order_id, l.line, i.quantity HAVING sum(l.quantity) > coalesce(i.quantity, 0)
    UNION ALL
    SELECT format('refund %s is done at %s, but %s of its parts are not',
                  r.refund_id, coalesce(r.done_at::text, 'no time'),
                  count(*) FILTER (WHERE p.done_at IS NULL))
      FROM refunds r JOIN refund_parts p USING (refund_id)
     GROUP BY r.refund_id
    HAVING (r.done_at IS NOT NULL) <> (count(*) FILTER (WHERE p.done_at IS NULL) = 0)) found
 ORDER BY violation LIMIT $1

-- name: p7_priced
-- What was priced line by line adds up to the order's tax and discount.
WITH lines AS (
    SELECT order_id, sum(coalesce(tax_minor, 0)) AS tax, sum(discount_minor) AS discount
      FROM order_items GROUP BY order_id
)
SELECT format('the lines of order %s have %s tax and %s discount, the order has %s and %s'
              ' (minor units, with what is off the shipping)',
              o.order_id, l.tax, l.discount, o.tax_minor, o.discount_minor) AS violation,
       count(*) OVER () AS total
  FROM orders o JOIN lines l USING (order_id)
 WHERE o.pricing IS NOT NULL AND o.confirmed_at IS NOT NULL
   AND (l.tax <> o.tax_minor
        OR l.discount + (o.pricing ->> 'shipping_discount_minor')::bigint <> o.discount_minor)
 ORDER BY violation LIMIT $1

-- name: p7_promotions
-- No promotion was used more often than it may be, and every discount that was given is counted.
SELECT violation, count(*) OVER () AS total FROM (
    SELECT format('promotion %s was used %s times, it may be %s times', p.promotion_id, count(*),
                  p.uses_max) AS violation
      FROM promotions p JOIN promotion_redemptions r USING (promotion_id)
     WHERE r.state = 'redeemed' AND p.uses_max IS NOT NULL
     GROUP BY p.promotion_id, p.uses_max HAVING count(*) > p.uses_max
    UNION ALL
    SELECT format('customer %s used promotion %s %s times, one may %s times', r.user_id,
                  p.promotion_id, count(*), p.uses_per_customer_max)
      FROM promotions p JOIN promotion_redemptions r USING (promotion_id)
     WHERE r.state = 'redeemed' AND p.uses_per_customer_max IS NOT NULL
     GROUP BY p.promotion_id, r.user_id, p.uses_per_customer_max
    HAVING count(*) > p.uses_per_customer_max
    UNION ALL
    SELECT format('order %s was charged less by promotion %s, which counts no use by it',
                  o.order_id, q.one ->> 'promotion_id')
      FROM orders o, jsonb_array_elements(o.pricing -> 'promotions') AS q (one)
     WHERE o.confirmed_at IS NOT NULL AND NOT EXISTS (
               SELECT FROM promotion_redemptions r
                WHERE r.order_id = o.order_id AND r.state = 'redeemed'
                  AND r.promotion_id = (q.one ->> 'promotion_id')::uuid)) found
 ORDER BY violation LIMIT $1

-- name: p7_payment
SELECT format('payment %s of order %s is %s (%s %s minor units), the provider says %s',
              p.transaction_id, p.order_id, p.status, p.amount_minor, p.currency,
              coalesce(format('%s (%s %s)', c.status, c.amount_minor, c.currency), 'nothing'))
           AS violation,
       count(*) OVER () AS total
  FROM payments p
  LEFT JOIN audit_charges c USING (transaction_id)
  LEFT JOIN orders o USING (order_id)
 WHERE p.updated_at <= $2
   AND (p.status::text || '/' || coalesce(c.status, 'none') <> ALL ($3::text[])
        AND NOT (p.status::text || '/' || coalesce(c.status, 'none') = ANY ($4::text[])
                 AND (p.updated_at >= $5 OR o.status = 'pending' AND o.created_at >= $6
                      OR o.waits_until IS NOT NULL
                      -- Given back, and not noted yet.
                      OR EXISTS (SELECT FROM refund_parts r
                                  WHERE r.payment_id = p.payment_id
                                    AND r.done_at IS NULL AND r.refused_at IS NULL)))
        -- How much of what was settled outside went through the provider, only its refunds tell.
        AND NOT (p.status IN ('captured', 'refunded') AND c.status IN ('captured', 'refunded')
                 AND EXISTS (SELECT FROM refund_parts r WHERE r.payment_id = p.payment_id
                                AND r.settled_by IS NOT NULL))
        OR c.status IN ('authorized', 'captured', 'refunded')
        AND (c.amount_minor <> p.amount_minor OR c.currency <> p.currency::text))
 ORDER BY violation LIMIT $1

-- name: p7_left_authorized
SELECT format('charge %s still holds %s %s minor units, though its order %s is %s: void it',
              c.transaction_id, c.amount_minor, c.currency, o.order_id, o.status) AS violation,
       count(*) OVER () AS total
  FROM audit_charges c
  JOIN payments p USING (transaction_id)
  JOIN orders o USING (order_id)
 WHERE c.status = 'authorized'
   AND (o.status = 'failed' AND o.failed_at < $2 OR o.status = 'cancelled' AND o.updated_at < $2)
 ORDER BY violation LIMIT $1

-- name: p7_total
WITH lines AS (
    SELECT order_id, sum(subtotal_minor) AS subtotal_minor FROM order_items GROUP BY order_id
)
SELECT format('order %s has subtotal %s and total %s, but its lines come to %s, with tax,'
              ' shipping and discount %s (minor units)',
              o.order_id, o.subtotal_minor, o.total_minor, coalesce(l.subtotal_minor, 0),
              coalesce(l.subtotal_minor, 0) + o.tax_minor + o.shipping_minor - o.discount_minor)
           AS violation,
       count(*) OVER () AS total
  FROM orders o
  LEFT JOIN lines l USING (order_id)
 WHERE o.confirmed_at IS NOT NULL
   AND (o.subtotal_minor <> coalesce(l.subtotal_minor, 0)
        OR o.total_minor <> o.subtotal_minor + o.tax_minor + o.shipping_minor - o.discount_minor)
 ORDER BY violation LIMIT $1

-- name: p8_lines
WITH bought AS (
    SELECT i.order_id, i.variant_id, sum(i.quantity) AS quantity
      FROM order_items i JOIN orders o USING (order_id)
     WHERE o.status = ANY ($2::order_status[])
     GROUP BY i.order_id, i.variant_id
), bound AS (
    SELECT r.order_id, p.variant_id, sum(r.quantity) AS quantity
      FROM inventory_reservations r
      JOIN orders o USING (order_id)
      JOIN inventory p USING (inventory_id)
     WHERE o.status = ANY ($2::order_status[]) AND r.status IN ('allocated', 'shipped')
     GROUP BY r.order_id, p.variant_id
)
SELECT format('order %s bought %s of variant %s, but %s are allocated or shipped',
              order_id, coalesce(b.quantity, 0), variant_id, coalesce(r.quantity, 0))
           AS violation,
       count(*) OVER () AS total
  FROM bought b
  FULL JOIN bound r USING (order_id, variant_id)
 WHERE coalesce(b.quantity, 0) <> coalesce(r.quantity, 0)
 ORDER BY violation LIMIT $1

-- name: p8_empty
SELECT format('order %s is %s, but has no lines', o.order_id, o.status) AS violation,
       count(*) OVER () AS total
  FROM orders o
 WHERE o.status = ANY ($2::order_status[])
   AND NOT EXISTS (SELECT FROM order_items i WHERE i.order_id = o.order_id)
 ORDER BY violation LIMIT $1

-- name: p9_missing
SELECT format('order %s was confirmed, but no %s event is in the outbox', o.order_id, $2::text)
           AS violation,
       count(*) OVER () AS total
  FROM orders o
 WHERE o.confirmed_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM outbox e WHERE e.subject = o.order_id AND e.type = $2::text)
 ORDER BY violation LIMIT $1

-- name: p9_unpublished
SELECT format('event %s of order %s is in the outbox since %s and was never published',
              event_id, subject, created_at) AS violation,
       count(*) OVER () AS total
  FROM outbox
 WHERE type = $2 AND published_at IS NULL AND created_at < $3
 ORDER BY violation LIMIT $1

-- name: p9_not_on_bus
-- The bus is bounded and forgets its oldest first: what was published after the oldest event
-- that it still holds must be there. On an empty bus everything is missing, and what was
-- published after the bus was read is left out.
WITH oldest AS (
    SELECT coalesce(min(coalesce(e.published_at, 'infinity')), '-infinity') AS published_at
      FROM outbox e
     WHERE e.type = $2 AND e.subject IN (SELECT order_id FROM audit_bus)
)
SELECT format('event %s of order %s was published at %s, but is not on the bus',
              e.event_id, e.subject, e.published_at) AS violation,
       count(*) OVER () AS total
  FROM outbox e, oldest
 WHERE e.type = $2
   AND e.published_at > oldest.published_at
   AND e.published_at <= $3
   AND NOT EXISTS (SELECT FROM audit_bus b WHERE b.order_id = e.subject)
 ORDER BY violation LIMIT $1

-- name: p10_acknowledged
SELECT format('order %s was acknowledged as confirmed, but is %s',
              a.order_id, coalesce(o.status::text, 'not there')) AS violation,
       count(*) OVER () AS total
  FROM audit_acknowledged a
  LEFT JOIN orders o USING (order_id)
 WHERE o.confirmed_at IS NULL OR o.status = 'failed'
 ORDER BY violation LIMIT $1

-- name: p10_unpaid
SELECT format('order %s was acknowledged and is %s, but no payment of it is captured',
              o.order_id, o.status) AS violation,
       count(*) OVER () AS total
  FROM audit_acknowledged a
  JOIN orders o USING (order_id)
 WHERE o.confirmed_at IS NOT NULL
   AND o.total_minor <> 0
   AND NOT EXISTS (
           SELECT FROM payments p
            WHERE p.order_id = o.order_id
              AND (p.status = 'captured' OR p.status = 'refunded'
                   AND (p.refunded_minor > 0 OR o.status = 'cancelled')))
 ORDER BY violation LIMIT $1

-- name: p10_event
SELECT format('the bus says that order %s is confirmed, but it is %s',
              b.order_id, coalesce(o.status::text, 'not there')) AS violation,
       count(*) OVER () AS total
  FROM (SELECT DISTINCT order_id FROM audit_bus) b
  LEFT JOIN orders o USING (order_id)
 WHERE o.confirmed_at IS NULL OR o.status = 'failed'
 ORDER BY violation LIMIT $1

-- name: p10_charge
SELECT format('charge %s (%s %s minor units) is captured for an order that is not there',
              c.transaction_id, c.amount_minor, c.currency) AS violation,
       count(*) OVER () AS total
  FROM audit_charges c
  LEFT JOIN payments p USING (transaction_id)
  LEFT JOIN orders o USING (order_id)
 WHERE c.status = 'captured' AND o.order_id IS NULL
 ORDER BY violation LIMIT $1
