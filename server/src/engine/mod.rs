//! The node: storage, log and sequencer put together; transactions.
