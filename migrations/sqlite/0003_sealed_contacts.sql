-- Not only users are sealed: whom an organisation names as its contact is, too.
alter table person_key rename column user_id to subject_id;
