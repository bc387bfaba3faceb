//! COPY: its data from and to the client.

mod input;
mod output;
