-- The shop's own ledger: gift cards, store credit and invoices, in double entry (docs/credit.md).
-- What is posted is said in domain/ledger.py. Accounts of cards and customers have a row, with
-- what is on it (or owed) and what of it is held for charges under way. The shop's own accounts
-- (cash, sales, promotions, write_offs) have none: every order would wait for that row. Their
-- balance is the sum of their entries.

CREATE TABLE credit_accounts (
    account_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('gift_card', 'store_credit', 'receivable')),
    customer       text CHECK (length(customer) BETWEEN 1 AND 255),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    balance_minor  bigint NOT NULL DEFAULT 0, -- of a receivable: what the customer owes
    held_minor     bigint NOT NULL DEFAULT 0,
    limit_minor    bigint CHECK (limit_minor >= 0), -- of a receivable: the most that may be owed
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credit_account_of_customer CHECK ((kind = 'gift_card') = (customer IS NULL)),
    CONSTRAINT credit_account_has_limit CHECK ((kind = 'receivable') = (limit_minor IS NOT NULL)),
    CONSTRAINT credit_never_below_zero CHECK (balance_minor >= 0 AND held_minor >= 0),
    -- Nothing is promised twice: whoever asks at once, however many there are.
    CONSTRAINT credit_never_overspent CHECK (
        CASE kind WHEN 'receivable' THEN balance_minor + held_minor <= limit_minor
                  ELSE held_minor <= balance_minor END),
    UNIQUE (account_id, kind, currency)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX credit_accounts_customer ON credit_accounts (customer, kind, currency);

-- Of a code only a keyed hash is kept, and its last four to talk about it.
CREATE TABLE gift_cards (
    account_id    bigint PRIMARY KEY REFERENCES credit_accounts (account_id),
    code_hash     text NOT NULL UNIQUE CHECK (length(code_hash) = 64),
    last_four     text NOT NULL CHECK (length(last_four) = 4),
    amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
    origin        text NOT NULL CHECK (origin IN ('sold', 'given')),
    expires_at    timestamptz,
    blocked_at    timestamptz,
    issued_at     timestamptz NOT NULL
);

-- Who may pay on invoice. The limit is the account's.
CREATE TABLE credit_terms (
    account_id  bigint PRIMARY KEY REFERENCES credit_accounts (account_id),
    approved    boolean NOT NULL,
    net_days    int NOT NULL CHECK (net_days BETWEEN 0 AND 365),
    actor       text NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- One event of one reference is posted once, whoever repeats what.
CREATE TABLE credit_journals (
    journal_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event       text NOT NULL CHECK (event IN
        ('gift_card_sold', 'gift_card_given', 'store_credit_granted', 'captured',
         'invoice_issued', 'refunded', 'invoice_paid', 'written_off')),
    reference   text NOT NULL,
    actor       text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    CONSTRAINT credit_event_posted_once UNIQUE (event, reference)
);

CREATE TABLE credit_entries (
    journal_id    bigint NOT NULL REFERENCES credit_journals (journal_id),
    line          smallint NOT NULL CHECK (line > 0),
    account_kind  text NOT NULL,
    account_id    bigint, -- none: an account of the shop's own
    amount_minor  bigint NOT NULL CHECK (amount_minor <> 0), -- debit positive, credit negative
    currency      text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    PRIMARY KEY (journal_id, line),
    CONSTRAINT credit_entry_of_account CHECK (
        account_kind IN ('gift_card', 'store_credit', 'receivable') AND account_id IS NOT NULL
        OR account_kind IN ('cash', 'sales', 'promotions', 'write_offs') AND account_id IS NULL),
    FOREIGN KEY (account_id, account_kind, currency)
        REFERENCES credit_accounts (account_id, kind, currency)
);
CREATE INDEX credit_entries_account ON credit_entries (account_id) WHERE account_id IS NOT NULL;

-- A journal is posted in one statement and sums to zero, and the balances follow its entries in
-- the same transaction: nothing else writes them. Who posts has locked the accounts before, in
-- the order of their ids.
CREATE FUNCTION credit_entries_posted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
BEGIN
    SELECT journal_id INTO wrong FROM added
     GROUP BY journal_id, currency HAVING sum(amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the entries of journal % do not sum to zero', wrong
            USING ERRCODE = 'check_violation', CONSTRAINT = 'credit_journal_sums_to_zero';
    END IF;
    UPDATE credit_accounts a
       SET balance_minor = a.balance_minor
           + n.net * CASE a.kind WHEN 'receivable' THEN 1 ELSE -1 END
      FROM (SELECT account_id, sum(amount_minor) AS net FROM added
             WHERE account_id IS NOT NULL GROUP BY account_id) n
     WHERE a.account_id = n.account_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER credit_entries_posted AFTER INSERT ON credit_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION credit_entries_posted();

CREATE FUNCTION credit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: post a journal that corrects the wrong one', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER credit_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION credit_append_only();
CREATE TRIGGER credit_journals_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_journals
    FOR EACH STATEMENT EXECUTE FUNCTION credit_append_only();

-- Charges, by our own id. An authorized one is a hold on its account.
CREATE TABLE credit_charges (
    transaction_id  text PRIMARY KEY CHECK (length(transaction_id) BETWEEN 1 AND 255),
    kind            text NOT NULL CHECK (kind IN ('gift_card', 'store_credit', 'invoice')),
    account_id      bigint REFERENCES credit_accounts (account_id), -- none: nothing was ever held
    amount_minor    bigint NOT NULL CHECK (amount_minor >= 0),
    currency        text NOT NULL,
    status          text NOT NULL CHECK (status IN ('authorized', 'captured', 'declined', 'voided', 'refunded')),
    decline_code    text,
    refunded_minor  bigint NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT credit_charge_declined_says_why CHECK ((status = 'declined') = (decline_code IS NOT NULL)),
    CONSTRAINT credit_charge_has_account CHECK (account_id IS NOT NULL OR status IN ('declined', 'voided')),
    CONSTRAINT credit_never_refunded_above CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT credit_charge_refunded_is_all CHECK (
        CASE status WHEN 'refunded' THEN refunded_minor = amount_minor
                    WHEN 'captured' THEN refunded_minor < amount_minor OR amount_minor = 0
                    ELSE refunded_minor = 0 END)
) WITH (fillfactor = 70);
CREATE INDEX credit_charges_held ON credit_charges (account_id) WHERE status = 'authorized';

CREATE TABLE credit_refunds (
    refund_id       text PRIMARY KEY CHECK (length(refund_id) BETWEEN 1 AND 255),
    transaction_id  text NOT NULL REFERENCES credit_charges (transaction_id),
    amount_minor    bigint NOT NULL CHECK (amount_minor > 0),
    journal_id      bigint NOT NULL REFERENCES credit_journals (journal_id),
    created_at      timestamptz NOT NULL
);
CREATE INDEX credit_refunds_charge ON credit_refunds (transaction_id);

-- Invoices are numbered without gaps, which tax offices ask for: a sequence would leave some.
CREATE TABLE credit_invoice_numbers (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    last      bigint NOT NULL
);
INSERT INTO credit_invoice_numbers (last) VALUES (0);

CREATE TABLE credit_invoices (
    number             bigint PRIMARY KEY CHECK (number > 0),
    transaction_id     text NOT NULL UNIQUE REFERENCES credit_charges (transaction_id),
    account_id         bigint NOT NULL REFERENCES credit_accounts (account_id),
    amount_minor       bigint NOT NULL CHECK (amount_minor > 0),
    paid_minor         bigint NOT NULL DEFAULT 0 CHECK (paid_minor >= 0),
    written_off_minor  bigint NOT NULL DEFAULT 0 CHECK (written_off_minor >= 0),
    credited_minor     bigint NOT NULL DEFAULT 0 CHECK (credited_minor >= 0), -- taken off by refunds
    open_minor         bigint GENERATED ALWAYS AS
        (amount_minor - paid_minor - written_off_minor - credited_minor) STORED,
    issued_at          timestamptz NOT NULL,
    due_on             date NOT NULL,
    CONSTRAINT credit_invoice_never_overpaid
        CHECK (paid_minor + written_off_minor + credited_minor <= amount_minor)
);
CREATE INDEX credit_invoices_account ON credit_invoices (account_id);
CREATE INDEX credit_invoices_open ON credit_invoices (due_on) WHERE open_minor > 0;

-- How often a customer has asked for the balance of a code, in the window that began then.
CREATE TABLE credit_code_attempts (
    customer      text PRIMARY KEY,
    window_start  timestamptz NOT NULL,
    attempts      int NOT NULL
);
CREATE INDEX credit_code_attempts_window ON credit_code_attempts (window_start);

-- Locks in one order everywhere: accounts by their ids, then charges by theirs, then the invoice
-- number. So nobody waits in a circle. NO KEY: who only refers to an account does not wait.
CREATE FUNCTION credit_lock_accounts(p_account_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM credit_accounts WHERE account_id = ANY (p_account_ids)
      ORDER BY account_id FOR NO KEY UPDATE;
END
$$;

-- What charges would be taken from: the account, what is free of it, and why it may not be touched
-- at all. A customer with money in another currency only is told so.
CREATE FUNCTION credit_sources(
    p_ids text[], p_kinds text[], p_tokens text[], p_customers text[],
    p_amounts bigint[], p_currencies text[], p_now timestamptz
) RETURNS TABLE (id text, kind text, amount bigint, currency text,
                 account_id bigint, free bigint, refusal text)
LANGUAGE sql STABLE AS $$
    SELECT q.id, q.kind, q.amount, q.currency, s.account_id, s.free,
           CASE WHEN s.account_id IS NULL THEN
                     CASE q.kind WHEN 'gift_card' THEN 'gift_card_unknown'
                                 WHEN 'store_credit' THEN 'insufficient_credit'
                                 ELSE 'invoice_not_approved' END
                WHEN s.refusal IS NOT NULL THEN s.refusal
                WHEN s.currency <> q.currency THEN 'wrong_currency' END
      FROM unnest(p_ids, p_kinds, p_tokens, p_customers, p_amounts, p_currencies)
           AS q (id, kind, token, customer, amount, currency)
      LEFT JOIN LATERAL (
          SELECT a.account_id, a.currency, a.balance_minor - a.held_minor AS free,
                 CASE WHEN c.blocked_at IS NOT NULL THEN 'gift_card_unknown'
                      WHEN c.expires_at <= p_now THEN 'gift_card_expired' END AS refusal
            FROM gift_cards c JOIN credit_accounts a USING (account_id)
           WHERE q.kind = 'gift_card' AND c.code_hash = q.token
          UNION ALL
          (SELECT a.account_id, a.currency, a.balance_minor - a.held_minor, NULL
             FROM credit_accounts a
            WHERE q.kind = 'store_credit' AND a.customer = q.customer AND a.kind = 'store_credit'
            ORDER BY a.currency <> q.currency LIMIT 1)
          UNION ALL
          (SELECT a.account_id, a.currency, a.limit_minor - a.balance_minor - a.held_minor, NULL
             FROM credit_accounts a JOIN credit_terms t USING (account_id)
            WHERE q.kind = 'invoice' AND a.customer = q.customer AND a.kind = 'receivable'
              AND t.approved
            ORDER BY a.currency <> q.currency LIMIT 1)
      ) s ON true
$$;

-- Holds for many charges. What exists already is left as it is; the answer is what there is now.
-- Who comes first is served first, and what does not fit takes nothing from what comes after it.
CREATE FUNCTION credit_authorize(
    p_ids text[], p_kinds text[], p_tokens text[], p_customers text[],
    p_amounts bigint[], p_currencies text[], p_now timestamptz
) RETURNS SETOF credit_charges LANGUAGE plpgsql AS $$
DECLARE
    asked record;
    locked bigint[];
    last_id bigint;
    free bigint;
    why text;
    ids text[] := '{}';
    accounts bigint[] := '{}';
    reasons text[] := '{}';
BEGIN
    locked := ARRAY(
        SELECT DISTINCT s.account_id
          FROM credit_sources(p_ids, p_kinds, p_tokens, p_customers, p_amounts, p_currencies, p_now) s
         WHERE s.account_id IS NOT NULL);
    PERFORM credit_lock_accounts(locked);
    -- Asked again under the locks: what was free before we waited may be gone. An account that
    -- came up meanwhile is not ours to touch: the charge is refused as it was when it was asked.
    FOR asked IN
        SELECT s.*
          FROM credit_sources(p_ids, p_kinds, p_tokens, p_customers, p_amounts, p_currencies, p_now) s
         WHERE NOT EXISTS (SELECT FROM credit_charges c WHERE c.transaction_id = s.id)
         ORDER BY s.account_id, s.id
    LOOP
        IF last_id IS DISTINCT FROM asked.account_id THEN
            last_id := asked.account_id;
            free := asked.free;
        END IF;
        why := asked.refusal;
        IF why IS NULL AND asked.amount > free THEN
            why := CASE asked.kind WHEN 'invoice' THEN 'credit_limit_exceeded'
                                   ELSE 'insufficient_credit' END;
        END IF;
        IF why IS NULL AND asked.account_id <> ALL (locked) THEN
            why := CASE asked.kind WHEN 'gift_card' THEN 'gift_card_unknown'
                                   WHEN 'store_credit' THEN 'insufficient_credit'
                                   ELSE 'invoice_not_approved' END;
        END IF;
        IF why IS NULL THEN
            free := free - asked.amount;
        END IF;
        ids := ids || asked.id;
        accounts := accounts || CASE WHEN why IS NULL THEN asked.account_id END;
        reasons := reasons || why;
    END LOOP;
    -- What was voided at this very moment is not made, and so not held.
    WITH made AS (
        INSERT INTO credit_charges
            (transaction_id, kind, account_id, amount_minor, currency, status, decline_code,
             created_at, updated_at)
        SELECT q.id, q.kind, d.account_id, q.amount, q.currency,
               CASE WHEN d.why IS NULL THEN 'authorized' ELSE 'declined' END, d.why, p_now, p_now
          FROM unnest(p_ids, p_kinds, p_amounts, p_currencies) AS q (id, kind, amount, currency)
          JOIN unnest(ids, accounts, reasons) AS d (id, account_id, why) USING (id)
         ORDER BY q.id
        ON CONFLICT (transaction_id) DO NOTHING
        RETURNING account_id, amount_minor
    )
    UPDATE credit_accounts a SET held_minor = a.held_minor + m.amount
      FROM (SELECT account_id, sum(amount_minor) AS amount FROM made
             WHERE account_id IS NOT NULL GROUP BY account_id) m
     WHERE a.account_id = m.account_id;
    RETURN QUERY SELECT * FROM credit_charges WHERE transaction_id = ANY (p_ids);
END
$$;

-- Takes what is held for many charges; what is not held stays as it is.
CREATE FUNCTION credit_capture(p_ids text[], p_now timestamptz)
RETURNS SETOF credit_charges LANGUAGE plpgsql AS $$
DECLARE
    invoices bigint;
    numbered bigint;
BEGIN
    PERFORM credit_lock_accounts(ARRAY(
        SELECT account_id FROM credit_charges
         WHERE transaction_id = ANY (p_ids) AND status = 'authorized'));
    WITH taken AS (
        UPDATE credit_charges SET status = 'captured', updated_at = p_now
         WHERE transaction_id = ANY (p_ids) AND status = 'authorized'
        RETURNING transaction_id, kind, account_id, amount_minor, currency
    ), freed AS (
        UPDATE credit_accounts a SET held_minor = a.held_minor - t.amount
          FROM (SELECT account_id, sum(amount_minor) AS amount FROM taken GROUP BY account_id) t
         WHERE a.account_id = t.account_id
    ), journals AS (
        INSERT INTO credit_journals (event, reference, created_at)
        SELECT CASE kind WHEN 'invoice' THEN 'invoice_issued' ELSE 'captured' END,
               transaction_id, p_now
          FROM taken WHERE amount_minor > 0
        RETURNING journal_id, reference
    )
    INSERT INTO credit_entries (journal_id, line, account_kind, account_id, amount_minor, currency)
    SELECT j.journal_id, e.line, e.account_kind, e.account_id, e.amount, t.currency
      FROM taken t
      JOIN journals j ON j.reference = t.transaction_id
     CROSS JOIN LATERAL (VALUES
           (1, CASE t.kind WHEN 'invoice' THEN 'receivable' ELSE t.kind END, t.account_id,
            t.amount_minor),
           (2, 'sales', NULL, -t.amount_minor)) AS e (line, account_kind, account_id, amount);
    SELECT count(*) INTO invoices FROM credit_charges c
     WHERE c.transaction_id = ANY (p_ids) AND c.kind = 'invoice' AND c.status = 'captured'
       AND c.amount_minor > 0
       AND NOT EXISTS (SELECT FROM credit_invoices i WHERE i.transaction_id = c.transaction_id);
    IF invoices > 0 THEN
        UPDATE credit_invoice_numbers SET last = last + invoices RETURNING last INTO numbered;
        INSERT INTO credit_invoices
            (number, transaction_id, account_id, amount_minor, issued_at, due_on)
        SELECT numbered - invoices + row_number() OVER (ORDER BY c.transaction_id),
               c.transaction_id, c.account_id, c.amount_minor, p_now,
               (p_now AT TIME ZONE 'UTC')::date + t.net_days
          FROM credit_charges c JOIN credit_terms t USING (account_id)
         WHERE c.transaction_id = ANY (p_ids) AND c.kind = 'invoice' AND c.status = 'captured'
           AND c.amount_minor > 0
           AND NOT EXISTS (SELECT FROM credit_invoices i WHERE i.transaction_id = c.transaction_id);
    END IF;
    RETURN QUERY SELECT * FROM credit_charges WHERE transaction_id = ANY (p_ids);
END
$$;

-- Drops the holds of many charges. Their tombstones were written before, in a transaction of
-- their own: waiting for a charge that is just being made, with accounts locked, would be a circle.
CREATE FUNCTION credit_void(p_ids text[], p_now timestamptz)
RETURNS SETOF credit_charges LANGUAGE plpgsql AS $$
BEGIN
    PERFORM credit_lock_accounts(ARRAY(
        SELECT account_id FROM credit_charges
         WHERE transaction_id = ANY (p_ids) AND status = 'authorized'));
    WITH dropped AS (
        UPDATE credit_charges SET status = 'voided', updated_at = p_now
         WHERE transaction_id = ANY (p_ids) AND status = 'authorized'
        RETURNING account_id, amount_minor
    )
    UPDATE credit_accounts a SET held_minor = a.held_minor - d.amount
      FROM (SELECT account_id, sum(amount_minor) AS amount FROM dropped GROUP BY account_id) d
     WHERE a.account_id = d.account_id;
    RETURN QUERY SELECT * FROM credit_charges WHERE transaction_id = ANY (p_ids);
END
$$;
