//! Atrium's edge: commands over REST, answers over GraphQL and REST, and what operators need.

pub mod actions;
pub mod app;
pub mod auth;
pub mod billing;
pub mod body;
pub mod config;
pub mod demo;
pub mod graphql;
pub mod keys;
pub mod password;
pub mod population;
pub mod problem;
pub mod rate;
pub mod rest;
pub mod schema;
pub mod seals;
pub mod server;
pub mod setup;
pub mod token;
pub mod travel;
