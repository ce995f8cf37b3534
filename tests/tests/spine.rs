//! The spine in process: the log, the writer, the views and their laws, on both databases, with a
//! clock that tests turn and seeded ids. Run under `scripts/postgres run --`.

mod spine {
    mod authoriser;
    mod books;
    mod closing;
    mod contract;
    mod due;
    mod ledger;
    mod possible;
    mod protection;
    mod readers;
    mod rebuilding;
    mod setting;
    mod several;
    mod twins;
    mod views;
    mod writer;
}
